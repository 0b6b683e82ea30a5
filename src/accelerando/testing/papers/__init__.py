"""The papers, transcribed in float64 NumPy: what a method does, by nothing but its own text.

Every transcription is a pure function of a start, a sequence of gradients and the hyperparameters. It shares
no code with the engine, nor with the other transcriptions: a helper shared across papers is where papers get
mixed up. The result is the trajectory, an array whose entry ``t`` is the parameter after ``t`` gradients, so
that entry 0 is the start. A gradient of ``None`` is a step at which the parameter had no gradient: it stays
where it is, and the step is not counted.

Example:
    >>> import numpy as np
    >>> from accelerando.testing.papers import adam
    >>> path = adam(np.array([1.0]), [np.array([0.5]), None], lr=0.1, eps=0.0)
    >>> path.ravel().round(3).tolist()
    [1.0, 0.9, 0.9]
"""

from accelerando.testing.papers.accelerando import accelerando
from accelerando.testing.papers.adabelief import adabelief
from accelerando.testing.papers.adam import adam
from accelerando.testing.papers.adamw import adamw
from accelerando.testing.papers.catalog import PAPERS, Paper, recognise
from accelerando.testing.papers.dadaptadam import dadaptadam
from accelerando.testing.papers.lamb import lamb
from accelerando.testing.papers.nvlamb import nvlamb
from accelerando.testing.papers.prodigy import prodigy
from accelerando.testing.papers.radam import radam
from accelerando.testing.papers.schedulefreeadamw import schedulefreeadamw

__all__ = [
    "PAPERS", "Paper", "accelerando", "adabelief", "adam", "adamw", "dadaptadam", "lamb", "nvlamb", "prodigy",
    "radam", "recognise", "schedulefreeadamw",
]  # fmt: skip
