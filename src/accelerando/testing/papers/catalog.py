"""Which transcriptions there are, what each stands for, and the variants of each that are in use."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerando.testing.papers.accelerando import accelerando
from accelerando.testing.papers.adabelief import adabelief
from accelerando.testing.papers.adam import adam
from accelerando.testing.papers.adamw import adamw
from accelerando.testing.papers.dadaptadam import dadaptadam
from accelerando.testing.papers.lamb import lamb
from accelerando.testing.papers.prodigy import prodigy
from accelerando.testing.papers.radam import radam
from accelerando.testing.papers.schedulefreeadamw import schedulefreeadamw

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Paper:
    """One method as its paper has it.

    Attributes:
        name: what its class is called, without regard to case.
        source: authors, year, where.
        trajectory: the transcription, from start, gradients and hyperparameters to positions.
        variants: readings in use that are not the paper's, each by the options that make it.
        exempt: invariances the paper's own method does not have, by the code of the check, with the reason.
        together: whether the method couples its tensors, so that they are transcribed all at once: from lists of
            starts and, step by step, of gradients, to a list of trajectories.
    """

    name: str
    source: str
    trajectory: Callable[..., Any]
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exempt: Mapping[str, str] = field(default_factory=dict)
    together: bool = False

    def trajectories(
        self, starts: Mapping[str, Array], gradients: Mapping[str, Sequence[Array | None]], **options: Any
    ) -> dict[str, Array]:
        """The trajectory of every tensor, by its name."""
        if self.together:
            steps = list(zip(*(gradients[name] for name in starts), strict=True))
            paths = self.trajectory(list(starts.values()), steps, **options)
            return dict(zip(starts, paths, strict=True))
        return {name: self.trajectory(starts[name], gradients[name], **options) for name in starts}

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The transcription's options as a parameter group of an optimizer sets them.

        What the group does not set stays at the transcription's default. ``beta1`` and ``beta2`` are read as
        ``betas``.
        """
        known = dict(group)
        if "betas" not in known and {"beta1", "beta2"} <= known.keys():
            known["betas"] = (known["beta1"], known["beta2"])
        names = list(inspect.signature(self.trajectory).parameters)[2:]
        return {name: known[name] for name in names if known.get(name) is not None}


ESTIMATES = {
    "I03": "the paper makes one estimate of all tensors together",
    "I07": "the paper's rate rises while gradients agree",
}
"""What methods that estimate their rate do by design."""

PAPERS: Mapping[str, Paper] = {
    paper.name.lower(): paper
    for paper in (
        Paper("Adam", "Kingma and Ba (2015), arXiv:1412.6980v9, Algorithm 1", adam),
        Paper("AdamW", "Loshchilov and Hutter (2019), arXiv:1711.05101v3, Algorithm 2", adamw),
        Paper(
            "RAdam",
            "Liu et al. (2020), arXiv:1908.03265v4, Algorithm 2",
            radam,
            {"rectified one step later, when ρ > 5": {"rectify_threshold": 5.0}},
            {
                "I06": "the paper's first steps follow the gradient's size, the rectified ones do not",
                "I07": "the paper's rectification drops the step at first and then lets it rise",
            },
        ),
        Paper(
            "LAMB",
            "You et al. (2020), arXiv:1904.00962v5, Algorithm 2",
            lamb,
            {
                "‖x‖ capped at 10": {"norm_cap": 10.0},
                "ratio capped at 1 (LAMBC)": {"trust_cap": 1.0},
                "no bias correction": {"bias_correction": False},
                "no bias correction, ‖x‖ capped at 10": {"bias_correction": False, "norm_cap": 10.0},
                "no trust ratio at all": {"adapt": False},
            },
        ),
        Paper(
            "AdaBelief",
            "Zhuang et al. (2020), arXiv:2010.07468v5, Algorithm 2",
            adabelief,
            exempt={"I07": "a steady gradient makes the paper's s collapse, so that its steps grow"},
        ),
        Paper(
            "Prodigy",
            "Mishchenko and Defazio (2023), arXiv:2306.06101, the Adam version",
            prodigy,
            {"with bias correction": {"use_bias_correction": True}},
            ESTIMATES,
            together=True,
        ),
        Paper(
            "DAdaptAdam",
            "Defazio and Mishchenko (2023), arXiv:2301.07733, Adam with D-Adaptation",
            dadaptadam,
            exempt=ESTIMATES,
            together=True,
        ),
        Paper(
            "ScheduleFreeAdamW",
            "Defazio et al. (2024), arXiv:2405.15682, Algorithm 1",
            schedulefreeadamw,
            {"the bias of v corrected in the rate": {"corrects_rate": True}},
        ),
        Paper(
            "Accelerando",
            "this library, docs/guide/self-raising.md",
            accelerando,
            exempt=ESTIMATES
            | {
                "C05": "lr is where a group starts, and is left behind tenfold a step",
                "I05": "a group has a unit of rate of its own, measured over its tensors, unless scale is given",
            },
            together=True,
        ),
    )
}
"""The transcribed methods, by their class names in lower case."""


def recognise(name: str) -> Paper | None:
    """The paper of a class called ``name``, or None.

    Example:
        >>> recognise("Lamb").source
        'You et al. (2020), arXiv:1904.00962v5, Algorithm 2'
        >>> recognise("SGD")
    """
    return PAPERS.get(name.lower())
