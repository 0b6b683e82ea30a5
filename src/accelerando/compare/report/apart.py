"""The PNG files, drawn in a process of their own while this one draws the page.

The process is started early, so that its imports cost nobody a wait, and ends when its pipe closes.
"""

import pickle
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from .digest import Digest

FIGURES = ("robustness", "curves", "rates")
"""The panels that become PNG files."""


class Apart:
    """A process that waits to draw; a context manager that leaves none behind."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the one that holds the pipe
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.communicate()

    def begin(self, digest: Digest) -> None:
        """Have the figures drawn; to be called once."""
        assert self._process.stdin is not None
        pickle.dump(digest, self._process.stdin)
        self._process.stdin.flush()

    def end(self, folder: Path) -> list[Path]:
        """Wait for the figures and write them.

        Raises:
            RuntimeError: Drawing failed; its traceback is on standard error.
        """
        drawn, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"drawing the figures ended with status {self._process.returncode}; see above")
        made: dict[str, bytes] = pickle.loads(drawn)
        for key, content in made.items():
            (folder / f"{key}.png").write_bytes(content)
        return [folder / f"{key}.png" for key in made]


def main() -> None:
    """Draw the digest that comes on standard input, if one comes."""
    from . import figures, panels

    figures.warm()
    try:
        digest: Digest = pickle.load(sys.stdin.buffer)
    except EOFError:
        return
    drawn = {key: figures.png(getattr(panels, key), digest, key) for key in FIGURES}
    sys.stdout.buffer.write(pickle.dumps(drawn))
