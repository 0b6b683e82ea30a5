"""Where generated kernels are kept: readable files, named by a hash of all that made them, written once.

The directory belongs to the user alone, since what lies in it is run: mode 0700, no one else's, no link. Where
that cannot be had, a private temporary directory takes its place, and that is said once.
"""

import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
import threading
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from accelerando.engine.options import say_once

VARIABLE = "ACCELERANDO_CACHE_DIR"

_one_at_a_time = threading.RLock()  # a module half imported by one thread must not be used by another


def wanted() -> Path:
    """The directory that is asked for, by the environment or by custom."""
    if told := os.environ.get(VARIABLE):
        return Path(told).expanduser() / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "accelerando" / "kernels"


def directory() -> Path:
    """The directory in use; made where it is missing."""
    return _usable(wanted())


@cache
def _usable(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = _problem(path)
    except OSError as error:
        problem = str(error)
    if problem is None:
        return path
    private = Path(tempfile.mkdtemp(prefix="accelerando-"))
    say_once(
        f"accelerando: kernels cannot be kept in {path} ({problem}); this process keeps them in {private}; "
        f"set {VARIABLE} to a directory of your own"
    )
    return private


def _problem(path: Path) -> str | None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a directory"
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return "it belongs to another user"
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    probe = tempfile.NamedTemporaryFile(dir=path)
    probe.close()
    return None


def load(stem: str, text: str, *ingredients: str) -> ModuleType:
    """The module that ``text`` is, from the cache; its file is written if it is not there.

    Args:
        stem: how the file's name begins.
        text: the source.
        ingredients: what else decides what the source compiles to.
    """
    made_of = "\0".join((version("accelerando"), sys.version, *ingredients, text))
    name = f"{stem}_{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    with _one_at_a_time:
        path = directory() / f"{name}.py"
        if not _holds(path, text):
            _write_once(path, text)
        return _import(name, path)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False


def _write_once(path: Path, text: str) -> None:
    """Appear whole or not at all, whoever else writes the same file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        os.link(temporary, path)
    except OSError:
        if not _holds(path, text):
            Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _import(name: str, path: Path) -> ModuleType:
    qualified = f"accelerando_kernel_{name}"
    if qualified in sys.modules:
        return sys.modules[qualified]
    spec = importlib.util.spec_from_file_location(qualified, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"accelerando: {path} cannot be loaded; delete it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module  # compiled code looks its module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[qualified]
        raise
    return module
