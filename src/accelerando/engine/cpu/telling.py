"""The lines of a CPU kernel that tell what the step did (see `accelerando.engine.telemetry`).

Sums are of the gradient as the rule reads it, times its factor, whose square the rule often has at hand; the factor
is taken out of a chunk's sums. Products are fused with their sums: what a pass can spare is multiplications.
"""

from collections.abc import Mapping, Sequence
from textwrap import indent

from accelerando.engine.anatomy import Rule
from accelerando.engine.telemetry import FIRST_MOMENT, TOLD

SAFE = (1e-30, 1e30)
"""Where a chunk's sum of squares in float32 is trusted; beyond, squares may have overflowed or vanished."""

STRIP = 1024
"""Elements that are summed in the width that is computed in, before float64 takes them, where only telling sums."""

MOVE = {"told_gd_": ("g", "d_"), "told_dd_": ("d_", "d_"), "told_pp_": ("p", "p")}
"""Of the pass that moves parameters: accumulators, and whose products are added to them."""

Products = Mapping[str, tuple[str, str]]


def tell_direction(rule: Rule, made: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Telemetry of the first pass: its accumulators, and whose products are added to them."""
    u, m = made[rule.direction.results[0]], made.get(FIRST_MOMENT)
    told = {"told_gg_": ("g", "g"), "told_uu_": (u, u)}
    return told if m is None else told | {"told_mm_": (m, m)}


def add_told(told: Products) -> list[str]:
    """Lines in the loop: each accumulator of a strip takes an element's share."""
    return [
        f"strip_{name} = add_up(strip_{name}, g * g)"
        if name == "told_gg_"
        else f"strip_{name} = add_product(strip_{name}, {a}, {b})"
        for name, (a, b) in told.items()
    ]


def keep_told(begin: int, told: Sequence[str], view: str, read: str) -> str:
    """Lines after the loop: a chunk's sums go to the columns of ``partial`` from ``begin`` on.

    Args:
        begin: the first of them.
        told: the accumulators.
        view: a line that makes ``g_`` of ``at_`` and ``n_``.
        read: its element ``g_[i_]`` as a number.
    """
    columns = {f"told_{name}_": begin + k for k, name in enumerate(TOLD)}
    scale = {"told_gg_": " / (scale_ * scale_)", "told_gd_": " / scale_"}
    text = "scale_ = np.float64(factor_)\n" if set(told) & set(scale) else ""
    text += "".join(f"partial_[chunk_, {columns[name]}] = {name}{scale.get(name, '')}\n" for name in told)
    if "told_gg_" not in told:
        return text
    gg, bad = columns["told_gg_"], columns["told_nonfinite_"]
    text += f"partial_[chunk_, {bad}] = 0.0\n"
    text += (
        f"if not ((partial_[chunk_, {gg}] > {SAFE[0]}) & (told_gg_ > {SAFE[0]}) & (told_gg_ < {SAFE[1]})):\n"
    )
    return text + indent(_in_full(gg, bad, view, read), "    ")


def _in_full(gg: int, bad: int, view: str, read: str) -> str:
    """Lines that sum a chunk's gradient once more, in float64, and count what is not finite."""
    return (
        "at_, n_, squares_, bad_ = chunks_[1, chunk_], chunks_[2, chunk_], 0.0, 0.0\n"
        f"{view}"
        "for i_ in range(n_):\n"
        f"    given_ = np.float64({read})\n"
        "    squares_ = add_product(squares_, given_, given_)\n"
        "    bad_ = add_up(bad_, where(given_ - given_ == 0, 0.0, 1.0))\n"
        f"partial_[chunk_, {gg}] = squares_\n"
        f"partial_[chunk_, {bad}] = bad_\n"
    )
