"""Momentum (or beta1) of a parameter group, whichever name the optimizer gives it."""

from typing import Any

KEYS = ("betas", "momentum", "beta1")


def key_of(group: dict[str, Any]) -> str | None:
    """The key that holds a group's momentum."""
    return next((key for key in KEYS if key in group), None)


def read(group: dict[str, Any]) -> float | None:
    """The group's momentum; None if it has none."""
    key = key_of(group)
    if key is None:
        return None
    return float(group[key][0] if key == "betas" else group[key])


def write(group: dict[str, Any], value: float) -> None:
    """Set the group's momentum; the other betas stay."""
    key = key_of(group)
    if key == "betas":
        group[key] = (value, *group[key][1:])
    elif key is not None:
        group[key] = value
