"""How fast a noisy metric moves, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trend:
    """A straight line through readings at equal distances.

    Attributes:
        slope: change per reading, by least squares.
        error: standard error of the slope, widened for readings that resemble their neighbours.
        end: the line's value at the last reading.
        noise: standard deviation of the readings about the line.
        count: readings.
    """

    slope: float
    error: float
    end: float
    noise: float
    count: int

    @property
    def confidence(self) -> float:
        """The slope in standard errors; 0 where there is neither slope nor noise."""
        if self.error > 0.0:
            return self.slope / self.error
        return math.copysign(math.inf, self.slope) if self.slope else 0.0


def trend(readings: Sequence[float]) -> Trend:
    """The trend of at least four readings.

    The error assumes a first-order autocorrelation r of the residuals and grows by √((1 + r)/(1 − r)), r in
    [0, 0.9]; without that a slow wave in the metric would pass for progress.
    """
    y = np.asarray(readings, dtype=np.float64)
    x = np.arange(len(y)) - (len(y) - 1) / 2.0
    spread = float(x @ x)
    slope = float(x @ y) / spread
    rest = y - y.mean() - slope * x
    power = float(rest @ rest)
    noise = math.sqrt(power / (len(y) - 2))
    alike = float(rest[1:] @ rest[:-1]) / power if power > 0.0 else 0.0
    alike = min(max(alike, 0.0), 0.9)
    error = noise / math.sqrt(spread) * math.sqrt((1.0 + alike) / (1.0 - alike))
    return Trend(slope, error, float(y.mean() + slope * x[-1]), noise, len(y))
