"""What a step of Accelerando costs beside our AdamW's: ``python benchmarks/self_raising/cost.py``.

One thread, interleaved rounds in one process; in the probe, and after it. Writes ``cost.md`` in the results.
"""

import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, too

from benchmarks.stepping.shapes import MODELS
from benchmarks.stepping.timing import ROUNDS, rounds, summarise

import accelerando

RESULTS = Path(__file__).parents[1] / "results" / "self_raising"
SHAPES = {
    "10 tiny tensors": MODELS["10 tiny tensors"],
    "1.3 M parameters in 10 tensors": lambda: [torch.Size(s) for s in [(512, 512), (512,)] * 5],
    "one tensor of 16.8 M": MODELS["one tensor of 16.8 M"],
}
FOREVER = 10**9
VERDICT = (
    "An interval is of one process, and processes differ by more (where in memory arrays come to lie may be why). "
    "Four of them gave 1.11, 0.68, 1.16, 1.12 (probe) and 1.09, 0.77, 1.06, 1.12 (after) at 1.3 M parameters, "
    "1.04, 1.23, 1.08, 0.96 and 1.08, 1.19, 1.08, 1.19 at 16.8 M, and two of them 2.0 on ten tensors. So 1.15 in the "
    "climb is met in the middle of four, 1.05 after it is not, and ten tensors are far from either."
)
"""Whether the bars are met, to be gone over by hand when the record is made anew."""


class Racer:
    """An optimizer over parameters of its own, with gradients that all share."""

    def __init__(
        self, optimizer: type, starts: list[torch.Tensor], gradients: list[list[torch.Tensor]], **more
    ):
        self.params = [torch.nn.Parameter(s.clone()) for s in starts]
        self.gradients, self.optimizer = gradients, optimizer(self.params, **more)
        self.step, self.probing = self.optimizer.step, False

    def prepare(self, number: int) -> None:
        """Put gradients in place."""
        for p, g in zip(self.params, self.gradients[number % len(self.gradients)], strict=True):
            p.grad = g
        if self.probing:  # random gradients agree on nothing, and would end it
            for group in self.optimizer.param_groups:
                group.update(crossed=0.0, fall=0.0, rate=0.005)


def main() -> None:
    torch.set_num_threads(1)
    lines = [
        "# What a step of Accelerando costs", "",
        f"`python benchmarks/self_raising/cost.py`; accelerando {accelerando.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {_processor()}, one thread; {ROUNDS} interleaved rounds, in brackets the "
        "95 % interval. The bars: 1.15 in the climb, 1.05 after.", "",
        "| model | movement | AdamW, µs | Accelerando, µs | ratio |", "|---|---|--:|--:|--:|",
    ]  # fmt: skip
    for name, shapes in SHAPES.items():
        stream = torch.Generator().manual_seed(0)
        starts = [0.05 * torch.randn(s, generator=stream) for s in shapes()]
        gradients = [[0.01 * torch.randn(s, generator=stream) for s in shapes()] for _ in range(2)]
        for movement in ("probe", "rise"):
            ours = Racer(accelerando.Accelerando, starts, gradients, total_steps=FOREVER)
            ours.prepare(0)
            ours.step()
            ours.probing = movement == "probe"
            if movement == "rise":
                for g in ours.optimizer.param_groups:
                    g.update(crossed=1.0, risen=float(FOREVER), goal=1e-3)
            beside = Racer(accelerando.AdamW, starts, gradients)
            mine, theirs = summarise(rounds([ours, beside], "cpu"))
            low, high = theirs.ratio[1], theirs.ratio[2]
            if ours.optimizer.trace()[-1].movement != movement:
                raise SystemExit(f"{name}: the {movement} was over before the rounds were")
            lines.append(
                f"| {name} | {movement} | {1e6 * theirs.median:,.1f} | {1e6 * mine.median:,.1f} | "
                f"{theirs.ratio[0]:.2f} [{low:.2f}, {high:.2f}] |"
            )
            print(lines[-1], flush=True)
    (RESULTS / "cost.md").write_text("\n".join([*lines, "", VERDICT]) + "\n", encoding="utf-8")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
