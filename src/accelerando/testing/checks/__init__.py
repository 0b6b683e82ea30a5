"""The checks; importing this package enters all of them into the registry."""

from accelerando.testing.checks import (
    arithmetic,
    conformance,
    construction,
    gradients,
    invariance,
    loop,
    precision,
    sharding,
    state,
)

__all__ = [
    "arithmetic",
    "conformance",
    "construction",
    "gradients",
    "invariance",
    "loop",
    "precision",
    "sharding",
    "state",
]
