"""From what a person types, ``digits`` or ``train.py:task``, to a task with its identity."""

import sys
import traceback
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from accelerando.errors import TaskError

if TYPE_CHECKING:
    from accelerando.compare.task import Task


@dataclass(frozen=True)
class Resolved:
    """A task, found.

    Attributes:
        task: The task; a user's bears the name ``FILE.py:FUNCTION``.
        hash: Fingerprint of its source, the modules it imports from its own folder, and its declared files.
        reference: What finds it again from any directory: a bundled name, or an absolute path and a function.
        folder: Where a user's file lies; None for bundled tasks.
    """

    task: "Task"
    hash: str
    reference: str
    folder: Path | None


def resolve(reference: str) -> Resolved:
    """Load a task.

    Args:
        reference: A bundled task's name, or ``FILE.py`` or ``FILE.py:FUNCTION`` (by default ``task``).

    Raises:
        TaskError: There is no such task, or its file breaks; says where.
    """
    path, colon, function = reference.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, function = reference, "task"
    if not path.endswith(".py"):
        return _bundled(reference)
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise TaskError(f"{reference}: there is no file {file}; write FILE.py:FUNCTION")
    task = _made(_module(file), file, function)
    task = replace(
        task, name=f"{file.name}:{function}", title=task.title or task.name, files=_anchored(task, file)
    )
    return Resolved(task, _identity(task, file), f"{file}:{function}", file.parent)


def place_of(trace: TracebackType | None, folder: Path | None) -> str:
    """``file:line in function`` of the innermost frame in the user's folder, else of the innermost frame."""
    frames = traceback.extract_tb(trace)
    if not frames:
        return ""
    own = [frame for frame in frames if folder is not None and Path(frame.filename).is_relative_to(folder)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def _bundled(name: str) -> Resolved:
    from accelerando.compare.tasks import fingerprint, load

    task = load(name)
    return Resolved(task, fingerprint(task), name, None)


def _module(file: Path) -> ModuleType:
    """Import a file under its own stem, as ``python file.py`` would find its neighbours."""
    folder = str(file.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(file.stem)
    taken = known is not None and getattr(known, "__file__", None) != str(file)
    name = f"_task_{file.stem}" if taken or file.stem in sys.stdlib_module_names else file.stem
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file}: cannot be imported as Python; rename it to end in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise TaskError(f"{file.name}:{error.lineno}: {error.msg}; mend the file and run again") from error
    except BaseException as error:
        raise _broken(error, file, "importing it") from error
    return module


def _made(module: ModuleType, file: Path, function: str) -> "Task":
    from accelerando.compare.task import Task

    found: Any = getattr(module, function, None)
    if found is None:
        tasks = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise TaskError(
            f"{file.name}: there is no {function!r} in it; write {file.name}:FUNCTION with a function that "
            f"returns a Task (it defines {', '.join(tasks) or 'no functions'})"
        )
    if not isinstance(found, Task):
        try:
            found = found()
        except Exception as error:
            raise _broken(error, file, f"calling {function}()") from error
    if not isinstance(found, Task):
        raise TaskError(
            f"{file.name}:{function} must return a Task, got {type(found).__name__}; "
            f"return accelerando.compare.Task(name=…, model=…, batches=…, loss=…, evaluate=…, steps=…)"
        )
    return found


def _broken(error: BaseException, file: Path, when: str) -> TaskError:
    if isinstance(error, KeyboardInterrupt):
        raise error
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    place = place_of(error.__traceback__, file.parent) if own else file.name
    hint = "install it, or correct the import" if isinstance(error, ImportError) else "mend it"
    return TaskError(f"{place}: {when} raised {type(error).__name__}: {error}; {hint} and run again")


def _anchored(task: "Task", file: Path) -> tuple[str, ...]:
    return tuple(str(file.parent / Path(name).expanduser()) for name in task.files)


def _identity(task: "Task", file: Path) -> str:
    """The task's own fingerprint, the file's source and that of every module imported from its folder."""
    from accelerando.compare.tasks import fingerprint

    places = [Path(place) for m in list(sys.modules.values()) if (place := getattr(m, "__file__", None))]
    own = {file, *(path.resolve() for path in places if _belongs(path, file.parent))}
    whole = sha256(fingerprint(task).encode())
    for path in sorted(own):
        whole.update(f"{path.relative_to(file.parent)}\0{sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _belongs(path: Path, folder: Path) -> bool:
    """Whether a module's file is the user's own: in the folder, but of no library that lies in it."""
    if not path.is_absolute() or path.suffix != ".py" or not path.resolve().is_relative_to(folder):
        return False
    if path.resolve().is_relative_to(Path(__file__).parents[1]):
        return False
    inside = path.resolve().relative_to(folder).parts
    return not any(part == "site-packages" or part.startswith(".") for part in inside)
