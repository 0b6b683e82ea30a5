"""The lines of a CPU kernel that tell what the step did (see `accelerando.engine.telemetry`)."""

from collections.abc import Mapping

from accelerando.engine.anatomy import Rule
from accelerando.engine.telemetry import FIRST_MOMENT, TOLD

MOVE = {
    "told_gd_": "given_ * d_",
    "told_dd_": "d_ * d_",
    "told_pp_": "new_ * new_",
    "told_pd_": "new_ * d_",
}
"""Of the pass that moves parameters: accumulators, and what is added to them."""


def tell_direction(rule: Rule, made: Mapping[str, str]) -> dict[str, str]:
    """Telemetry of the first pass: its accumulators, and what is added to them."""
    u, m = made[rule.direction.results[0]], made.get(FIRST_MOMENT)
    told = {"told_gg_": "given_ * given_", "told_uu_": f"{u} * {u}"}
    return told if m is None else told | {"told_mm_": f"{m} * {m}"}


def add_told(told: Mapping[str, str]) -> list[str]:
    """Lines in the loop: each accumulator of a strip takes an element's share."""
    return [f"strip_{name} = add_up(strip_{name}, {value})" for name, value in told.items()]


def keep_told(begin: int, told: Mapping[str, str]) -> str:
    """Lines after the loop: a chunk's sums go to the columns of ``partial`` from ``begin`` on."""
    columns = {f"told_{name}_": begin + k for k, name in enumerate(TOLD)}
    return "".join(f"partial_[chunk_, {columns[name]}] = {name}\n" for name in told)
