"""How numbers are written, the same in every language and every form of the report."""

import math

from ..statistics import Comparison, Scale, Summary
from .digest import Row

NONE = "–"


def loss(value: float) -> str:
    """Four digits; ∞ for a diverged one; a dash for none."""
    if math.isnan(value):
        return NONE
    return "∞" if math.isinf(value) else f"{value:.4g}"


def rate(value: float | None) -> str:
    """``1e-3``, ``3.2e-2``: a mantissa of at most two digits and an exponent; a dash for none."""
    if value is None:
        return NONE
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def factor(value: float) -> str:
    """``×3.1``; a dash for none."""
    return NONE if math.isnan(value) else ("×∞" if math.isinf(value) else f"×{value:.3g}")


def decades(value: float) -> str:
    """One digit after the point; a dash for none."""
    return NONE if math.isnan(value) else f"{value:.1f}"


def share(value: float) -> str:
    """A metric: four digits; a dash for none."""
    return NONE if math.isnan(value) else f"{value:.4g}"


def interval(summary: Summary) -> str:
    """``0.108 (0.101–0.116)``; the centre alone where there is no interval."""
    if math.isnan(summary.low):
        return loss(summary.centre)
    return f"{loss(summary.centre)} ({loss(summary.low)}–{loss(summary.high)})"


def effect(comparison: Comparison, scale: Scale) -> str:
    """``×0.88 (0.83 … 0.93)`` for a ratio, signed for a difference; a dash where a seed diverged."""
    if not math.isfinite(comparison.effect):
        return NONE
    ends = "" if math.isnan(comparison.low) else f" ({comparison.low:.3g} … {comparison.high:.3g})"
    centre = factor(comparison.effect) if scale == "log" else f"{comparison.effect:+.3g}"
    return centre + ends


def below(ratio: float) -> str:
    """How far a ratio lies below 1: ``25 %``, negative above it."""
    return f"{100 * (1 - ratio):.0f} %"


def p_value(value: float) -> str:
    """Two digits, ``<0.001`` below that."""
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def chosen(row: Row) -> str:
    """``lr = 1e-3``; a dash where the strategy has no rate."""
    name = row.about.get("rate_name")
    return NONE if row.rate is None else (f"{name} = {rate(row.rate)}" if name else rate(row.rate))


def seconds(value: float) -> str:
    """A duration of a step in µs or ms."""
    if math.isnan(value):
        return NONE
    return f"{value * 1e6:.0f} µs" if value < 1e-3 else f"{value * 1e3:.3g} ms"
