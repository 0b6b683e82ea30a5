"""The figures of the guide, one a question."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

BLUE, RED, GREEN, ORANGE, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
STYLE: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}

Plots = dict[str, Any]


def draw(question: str, plots: Plots, path: Path) -> None:
    """Draw the answer to one question."""
    with rc_context(STYLE):
        figure = DRAWN[question](plots)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Software": None})


def _grid(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).ravel())


def _log(axis: Axes) -> None:
    """A logarithmic height with numbers that are read at a glance."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _smooth(values: list[float], width: int = 5) -> Any:
    padded = np.pad(np.log(values), width // 2, mode="edge")
    return np.exp(np.convolve(padded, np.ones(width) / width, mode="valid"))


def _adam(plots: Plots) -> Figure:
    figure, axes = _grid(2, 4, (11, 5), sharey=False)
    for axis, (name, seen) in zip(axes, plots.items(), strict=True):
        start = len(seen["step"]) // 20
        for field, colour, label in (
            ("gain", RED, "gain  ‖d‖/‖g‖"), ("grad_norm", BLUE, "gradient  ‖g‖"), ("update_rms", GREEN, "step  ‖d‖"),
        ):  # fmt: skip
            values = _smooth(seen[field])
            axis.plot(seen["step"], values / values[start], color=colour, lw=1.3, label=label)
        axis.axhline(1, color="black", lw=0.5)
        _log(axis)
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_xlabel("step")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=3)
    figure.suptitle("Adam at a constant lr = 1e-3: each number against its start", x=0.01, ha="left")
    return figure


def _radam(plots: Plots) -> Figure:
    figure, axes = _grid(1, 3, (11, 3.4))
    for axis, (name, seen) in zip(axes, plots.items(), strict=True):
        for label, colour in (("Adam", BLUE), ("RAdam", RED)):
            values = seen[label]
            axis.plot(range(1, len(values) + 1), values, color=colour, lw=1.3, label=label)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.axvline(5.5, color="black", lw=0.7, ls=":")
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_xlabel("step (dotted: RAdam begins to divide)")
    axes[0].set_ylabel("RMS of the step, in units of lr")
    axes[0].legend(frameon=False)
    return figure


def _adabelief(plots: Plots) -> Figure:
    figure, axes = _grid(1, 4, (11, 3.2), sharey=True)
    for axis, (noise, seen) in zip(axes, plots.items(), strict=True):
        for label, colour in (("Adam", BLUE), ("AdaBelief", RED)):
            axis.plot(range(1, 5 * len(seen[label]), 5), seen[label], color=colour, lw=1.3, label=label)
        axis.set_yscale("log")
        axis.set_title(f"gradient 1 + {noise} × noise", loc="left", fontsize=9)
        axis.set_xlabel("step")
    axes[0].set_ylabel("gain, in units of lr")
    axes[0].legend(frameon=False)
    return figure


def _lamb(plots: Plots) -> Figure:
    figure, axes = _grid(2, 3, (11, 5.4))
    colours = (BLUE, RED, GREEN, ORANGE, PINK, SKY)
    for k, (name, seen) in enumerate(plots.items()):
        for i, (steps, trust) in enumerate(seen["series"].values()):
            axes[k].plot(steps, trust, color=colours[i % 6], lw=0.9)
        axes[k].set_yscale("log")
        axes[k].set_title(name, loc="left", fontsize=9)
        axes[k].set_xlabel("step")
        agreement = [x / math.log(10) for x in seen["agreement"]]
        axes[3 + k].scatter(agreement, seen["trust"], s=3, color=BLUE, alpha=0.4, lw=0)
        axes[3 + k].set_yscale("log")
        axes[3 + k].set_xlabel("log₁₀ ‖m̂‖/‖g‖ (agreement →)")
    for axis in (axes[0], axes[3]):
        axis.set_ylabel("trust ratio")
    figure.suptitle(
        "LAMB: the trust ratio of each weight, over time and against agreement", x=0.01, ha="left"
    )
    return figure


def _cyclic(plots: Plots) -> Figure:
    names = list(dict.fromkeys(key.rsplit(".", 1)[0] for key in plots))
    figure, axes = _grid(2, len(names), (11, 4.8), sharex="col")
    for k, name in enumerate(names):
        for kind, colour, label in (
            ("plain", BLUE, "the rate alone cycles"),
            ("momentum", RED, "beta1 cycles too"),
        ):
            seen = plots[f"{name}.{kind}"]
            axes[k].plot(seen["step"], seen["lr"], color="black", lw=0.8)
            axes[k].plot(seen["step"], _smooth(seen["gain"], 9), color=colour, lw=1.1, label=f"gain, {label}")
            agreement = _smooth(list(np.exp(seen["log_agreement"])), 25)
            axes[len(names) + k].plot(seen["step"], agreement, color=colour, lw=1.1)
        _log(axes[k])
        _log(axes[len(names) + k])
        axes[k].set_title(f"{name} (black: the nominal rate)", loc="left", fontsize=9)
        axes[len(names) + k].set_xlabel("step")
    axes[len(names)].set_ylabel("agreement's factor  ‖m̂‖/‖g‖")
    axes[0].set_ylabel("gain")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=2)
    return figure


def _prodigy(plots: Plots) -> Figure:
    figure, axes = _grid(1, 1, (6.5, 3.4))
    for (name, seen), colour in zip(plots.items(), (BLUE, RED, GREEN, ORANGE), strict=True):
        axes[0].plot(seen["step"], seen["d"], color=colour, lw=1.3, label=name)
    axes[0].set_xscale("log")
    axes[0].set_yscale("log")
    axes[0].set_xlabel("step")
    axes[0].set_title("Prodigy: d, which multiplies lr = 1", loc="left", fontsize=10)
    axes[0].legend(frameon=False)
    return figure


def _decay(plots: Plots) -> Figure:
    figure, axes = _grid(1, 3, (11, 4.2), width_ratios=[1, 1, 1.2])
    for axis, (name, seen) in zip(axes, plots.items(), strict=True):
        names = sorted(seen["Adam"], key=lambda n: seen["Adam"][n])
        for label, colour in (("AdamW", BLUE), ("Adam", RED)):
            values = [seen[label][n] for n in names]
            axis.scatter(values, range(len(names)), s=18, color=colour, label=f"{label}, weight_decay = 0.01")
        axis.set_xscale("log")
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_xlabel("share of the weights that decay takes in a step")
        axis.grid(axis="x", lw=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside upper right", ncols=2
    )
    return figure


DRAWN: dict[str, Callable[[Plots], Figure]] = {
    "adam": _adam,
    "radam": _radam,
    "adabelief": _adabelief,
    "lamb": _lamb,
    "cyclic": _cyclic,
    "prodigy": _prodigy,
    "decay": _decay,
}
