"""A task's identity: what its code and its files say, and nothing of where they lie."""

import inspect
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import TaskError
from .task import FUNCTIONS, Task


def fingerprint(task: Task) -> str:
    """A sha256 over the task's name, the source files of its four functions and its declared files.

    Moving the files changes nothing; one changed byte in any of them does. The number of steps is left out:
    every trial carries it itself.

    Raises:
        TaskError: a file is missing, or no source can be found and no file is declared.
    """
    sources = {_source(task, field) for field in FUNCTIONS} - {None}
    home = _source(task, "model")
    declared = [_located(path, home) for path in task.files]
    if not sources and not declared:
        raise TaskError(
            f"Task {task.name!r}: its functions have no source file, so a change of them could not be seen; "
            f"move the task into a .py file, or declare files=(...)"
        )
    digests = sorted((path.name, _digest(task, path)) for path in {*sources, *declared} if path is not None)
    whole = sha256(f"{task.name}\n".encode())
    for name, digest in digests:
        whole.update(f"{name}\0{digest}\n".encode())
    return whole.hexdigest()


def _source(task: Task, field: str) -> Path | None:
    function = _plain(getattr(task, field))
    try:
        found = inspect.getsourcefile(function)
    except TypeError:  # built in, or an instance: then its class tells
        try:
            found = inspect.getsourcefile(type(function))
        except TypeError:
            return None
    path = Path(found).resolve() if found else None
    return path if path is not None and path.is_file() else None


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, partial):
        function = function.func
    inner: Callable[..., Any] = inspect.unwrap(function)
    return inner


def _located(path: str, home: Path | None) -> Path:
    place = Path(path).expanduser()
    return place if place.is_absolute() or home is None else home.parent / place


def _digest(task: Task, path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TaskError(
            f"Task {task.name!r}: files: cannot read {path} ({error.strerror}); declare only files that exist"
        ) from error
