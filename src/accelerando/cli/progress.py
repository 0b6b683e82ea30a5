"""Live progress of a comparison, on standard error: a bar on a terminal, a line now and then elsewhere."""

from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from accelerando.compare.run import Progress

EVERY_SECONDS = 15.0
"""Between two lines where there is no terminal."""


class Live:
    """Shows trials done, time left and the best so far; a context manager, called with every `Progress`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[best]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            refresh_per_second=4,
        )
        self._task: TaskID = self._bar.add_task("trials", left="", best="", total=None)
        self._spoke = monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        if progress.notice:
            self._console.print(progress.notice, markup=False, highlight=False)
        left = "" if progress.left is None else f"{_clock(progress.left)} left"
        best = "" if progress.best is None else "best so far {} at {} ({:.4g})".format(*progress.best)
        self._bar.update(self._task, completed=progress.done, total=progress.total, left=left, best=best)
        if not self._console.is_terminal and monotonic() - self._spoke > EVERY_SECONDS:
            self._spoke = monotonic()
            words = (f"{progress.done} of {progress.total} trials", left, best)
            self._console.print(", ".join(word for word in words if word), markup=False, highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
