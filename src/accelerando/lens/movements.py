"""How a method that raises its own rate moved: which movement, at what rate, while gradients agreed how much."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from accelerando.lens.points import MOVEMENTS
from accelerando.lens.store import Recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Moved(NamedTuple):
    """One step: its number, the movement, the rate in parameter units, and the agreement if it is known."""

    step: int
    movement: str
    rate: float
    agreement: float | None


def moved_in(recording: Recording, optimizer: int) -> list[Moved]:
    """The sampled steps of an optimizer's first group, if it raises its own rate; else none."""
    found: list[Moved] = []
    first, moves = None, False
    for row in recording.rows("group"):
        if row["optimizer"] != optimizer or row["log_schedule"] is None:
            continue
        first = row["group"] if first is None else first
        own = {name: row[f"log_{name}"] or 0.0 for name in MOVEMENTS}
        name = max(own, key=lambda movement: abs(own[movement]))
        if row["group"] != first or not row["lr"]:
            continue
        moves |= bool(own[name])
        rate = row["lr"] * math.exp(sum(own.values()))
        found.append(Moved(row["step"], name, rate, row["agreement"]))
    return found if moves else []


def moved_by(optimizer: Any) -> list[Moved]:
    """Every step that an optimizer with a trace remembers; none for others."""
    trace = getattr(optimizer, "trace", None)
    if not callable(trace):
        return []
    turns: Iterable[Any] = trace()
    return [Moved(turn.step, turn.movement, turn.rate, turn.agreement) for turn in turns]


def movements(moved: Sequence[Moved], title: str) -> "Figure":
    """Rate and agreement step by step, on the colour of the movement."""
    from accelerando.lens.figures import COLOURS, canvas, titled

    figure, (rate, agreement) = canvas(2, (7.5, 4.2), sharex=True)
    for axis in (rate, agreement):
        begin = 0
        for k in range(1, len(moved) + 1):
            if k < len(moved) and moved[k].movement == moved[begin].movement:
                continue
            end = moved[min(k, len(moved) - 1)].step
            name = moved[begin].movement
            axis.axvspan(moved[begin].step, end, color=COLOURS[name], alpha=0.25, lw=0, label=name)
            begin = k
    steps = [m.step for m in moved]
    rate.plot(steps, [m.rate if m.rate > 0 else float("nan") for m in moved], color="black", lw=1.2)
    rate.set_yscale("log")
    known = [m for m in moved if m.agreement is not None]  # not every sample looks at it
    agreement.plot([m.step for m in known], [m.agreement or 0.0 for m in known], color="black", lw=0.8)
    agreement.axhline(0, color="black", lw=0.5)
    agreement.set_xlabel("step")
    titled(rate, f"{title}the rate that the method took, by its movement")
    titled(agreement, "agreement of gradient and direction")
    handles = dict(zip(*reversed(rate.get_legend_handles_labels()), strict=True))
    rate.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        fontsize=7,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
    return figure
