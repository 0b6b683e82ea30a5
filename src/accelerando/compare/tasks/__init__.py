"""The bundled tasks: real data frozen in the package with its hashes, and problems with known optima."""

from importlib import import_module

from ...errors import TaskError
from ..fingerprint import fingerprint
from ..task import Task

__all__ = ["fingerprint", "load", "names"]

_MAKERS = {
    "digits": "digits:mlp",
    "digits-autoencoder": "digits:autoencoder",
    "mnist1d": "mnist1d:cnn",
    "text": "text:transformer",
    "diabetes": "diabetes:regression",
    "breast-cancer": "cancer:logistic",
    "quadratic": "quadratic:ill_conditioned",
    "noisy-quadratic": "quadratic:noisy",
}


def names() -> list[str]:
    """Every bundled task's name, the default one first."""
    return list(_MAKERS)


def load(name: str) -> Task:
    """The bundled task of that name; its module and data are read now.

    Raises:
        TaskError: there is no such task, or its frozen data is not what was shipped.
    """
    if name not in _MAKERS:
        raise TaskError(
            f"Task: there is no bundled task {name!r}; the bundled ones are {', '.join(_MAKERS)}; "
            f"for your own write FILE.py:FUNCTION"
        )
    module, function = _MAKERS[name].split(":")
    task: Task = getattr(import_module(f"{__name__}.{module}"), function)()
    return task
