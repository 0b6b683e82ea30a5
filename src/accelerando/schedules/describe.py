"""The findings that hold for every scheduler: rises, restarts, the end, frozen rates, other hands."""

from typing import TYPE_CHECKING

from accelerando.schedules.findings import Finding
from accelerando.schedules.preview import Curve

if TYPE_CHECKING:
    from accelerando.schedules.shell import Shell


def describe(shell: "Shell", steps: int | None) -> list[Finding]:
    """The findings of a run of ``steps`` steps, by default as long as the preview."""
    found: list[Finding] = []
    for i, curve in enumerate(shell.preview(steps).curves):
        group = i if shell._groups > 1 else None
        found += _rises(curve, group)
        if curve.length is not None and curve.length < len(curve.rates) - 1:
            held = curve.rates[-1]
            message = f"past its end at step {curve.length} the rate holds {held:.4g}"
            message += ": nothing is learned any more" if held == 0.0 else ""
            found.append(Finding("end", message, group, first=curve.length, last=len(curve.rates) - 1))
    ledger = shell._ledger
    for i in range(shell._groups):
        if ledger.references[i] == 0.0 or ledger.outside[i] == 0.0:
            found.append(Finding("frozen", f"group {i} has rate 0, and no schedule can raise it", i))
        elif abs(ledger.outside[i] - 1.0) > 1e-9:
            factor = ledger.outside[i]
            message = f"another hand has multiplied the rate of group {i} by {factor:.4g}, which is kept"
            found.append(Finding("outside", message, i, factor=factor))
    if shell._held:
        message = f"step() was called {shell._held} times without an optimizer step; those did not count"
        found.append(Finding("held", message))
    return found


def _rises(curve: Curve, group: int | None) -> list[Finding]:
    found = []
    for rise in curve.rises():
        restart = rise.kind == "jumps up"
        factor = rise.ends / rise.begins if rise.begins > 0 else None
        message = f"steps {rise.first} – {rise.last}: {rise}"
        kind = "restart" if restart else "rise"
        found.append(Finding(kind, message, group, rise.first, rise.last, factor))  # type: ignore[arg-type]
    return found
