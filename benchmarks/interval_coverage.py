"""Simulates how often our 95 % intervals hold the truth, and how often our tests call noise a difference.

    python benchmarks/interval_coverage.py            # writes results/coverage.json and results/coverage.md

Losses of seeds are drawn from three laws: normal (the ideal), log-normal (what the log scale is for), and
pairs of a common part per seed and one of each strategy's own (what pairing is for). Everything is drawn
from fixed streams, so the tables are the same on every run. The bootstrap is shown for comparison; the
library does not use it.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from accelerando.compare import statistics as s

RESULTS = Path(__file__).with_name("results")
SEEDS = (3, 5, 10)
ROUNDS = 20_000
TEST_ROUNDS = 4_000
COMPARISONS = 9
SPREAD = 0.5


def coverage(interval: Callable[[np.ndarray], tuple[float, float]], draw, truth: float) -> float:
    """The share of rounds whose interval holds the truth."""
    held = 0
    for data in draw:
        low, high = interval(data)
        held += low <= truth <= high
    return held / len(draw)


def student(data: np.ndarray) -> tuple[float, float]:
    made = s.summary(list(data), "linear")
    return made.low, made.high


def student_log(data: np.ndarray) -> tuple[float, float]:
    made = s.summary(list(data), "log")
    return made.low, made.high


def bootstrap(data: np.ndarray, stream: np.random.Generator) -> tuple[float, float]:
    means = data[stream.integers(0, len(data), (400, len(data)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def intervals(n: int) -> dict[str, float]:
    """Coverage of every interval at n seeds."""
    stream = np.random.default_rng(n)
    normal = stream.normal(1.0, SPREAD, (ROUNDS, n))
    lognormal = np.exp(stream.normal(0.0, SPREAD, (ROUNDS, n)))
    mean_of_lognormal = math.exp(SPREAD**2 / 2)
    resample = np.random.default_rng(100 + n)
    shared = stream.normal(0.0, SPREAD, (ROUNDS, n))
    ours = np.exp(math.log(0.9) + shared + stream.normal(0, SPREAD / 5, (ROUNDS, n)))
    theirs = np.exp(shared + stream.normal(0, SPREAD / 5, (ROUNDS, n)))
    effects = [s.compare([(list(a), list(b))], "log")[0] for a, b in zip(ours, theirs, strict=True)]
    return {
        "student, normal losses": coverage(student, normal, 1.0),
        "student on log, log-normal losses (geometric mean)": coverage(student_log, lognormal, 1.0),
        "student without log, log-normal losses (mean)": coverage(student, lognormal, mean_of_lognormal),
        "paired student on log (ratio)": float(np.mean([e.low <= 0.9 <= e.high for e in effects])),
        "bootstrap, normal losses (not used)": coverage(
            lambda data: bootstrap(data, resample), normal[:TEST_ROUNDS], 1.0
        ),
    }


def tests(n: int) -> dict[str, float]:
    """How often something is called better or worse: with no difference, and with one of 20 %."""
    stream = np.random.default_rng(1000 + n)
    wrong, found = 0, 0
    for _ in range(TEST_ROUNDS):
        shared = stream.normal(0.0, SPREAD, n)
        base = np.exp(shared + stream.normal(0.0, SPREAD / 5, n))
        others = np.exp(shared + stream.normal(0.0, SPREAD / 5, (COMPARISONS, n)))
        decided = ("better", "worse")
        null = s.compare([(list(other), list(base)) for other in others], "log")
        wrong += any(c.verdict in decided for c in null)
        others[0] *= 0.8
        found += s.compare([(list(other), list(base)) for other in others], "log")[0].verdict == "better"
    return {
        f"any false verdict among {COMPARISONS} equal strategies": wrong / TEST_ROUNDS,
        f"a strategy 20 % better is found among {COMPARISONS}": found / TEST_ROUNDS,
    }


def table(results: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(results.values())))
    lines = ["| | " + " | ".join(f"{n} seeds" for n in results) + " |", "|---|" + "---|" * len(results)]
    for name in names:
        cells = " | ".join(f"{100 * row[name]:.1f} %" for row in results.values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, then write both files."""
    held = {str(n): intervals(n) for n in SEEDS}
    verdicts = {str(n): tests(n) for n in SEEDS}
    needed = {str(m): s.seeds_needed(m) for m in (1, 3, 9, 19)}
    record = {
        "rounds": ROUNDS,
        "rounds_of_tests_and_bootstrap": TEST_ROUNDS,
        "spread": SPREAD,
        "coverage": held,
        "verdicts": verdicts,
        "seeds_needed": needed,
    }
    error = 100 * math.sqrt(0.05 * 0.95 / ROUNDS)
    text = f"""# Coverage of the intervals of `compare`, simulated

Made by `python benchmarks/interval_coverage.py`: {ROUNDS:,} rounds for intervals (standard error {error:.1f} points),
{TEST_ROUNDS:,} for verdicts and the bootstrap; losses with a spread of {SPREAD} (normal, or in the
logarithm).

## 95 % intervals hold the truth in

{table(held)}

## Verdicts (exact sign-flip test, Holm over {COMPARISONS} comparisons, level 5 %)

{table(verdicts)}

Fewest fresh seeds for a verdict: {", ".join(f"{n} (comparisons: {m})" for m, n in needed.items())}.
With fewer the answer is "too few seeds", whatever was measured.
"""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "coverage.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "coverage.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
