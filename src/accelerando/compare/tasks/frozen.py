"""Reading the data shipped in the package, never without checking its hash."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from ...errors import TaskError

FOLDER = Path(__file__).parent / "data"


def place(name: str) -> str:
    """The path of a shipped file, for `Task.files`."""
    return str(FOLDER / name)


def content(name: str, folder: Path = FOLDER) -> bytes:
    """The bytes of a shipped file.

    Raises:
        TaskError: the file is missing or its sha256 is not the one in ``SHA256SUMS``.
    """
    expected = {file: digest for digest, file in _sums(folder)}
    path = folder / name
    if name not in expected or not path.is_file():
        raise TaskError(f"Task data: {path} is missing from the installation; reinstall accelerando")
    raw = path.read_bytes()
    digest = sha256(raw).hexdigest()
    if digest != expected[name]:
        raise TaskError(
            f"Task data: {path} has sha256 {digest[:16]}…, expected {expected[name][:16]}…: the file was "
            f"changed; reinstall accelerando"
        )
    return raw


def arrays(name: str, folder: Path = FOLDER) -> dict[str, torch.Tensor]:
    """The named tensors of a shipped ``.npz``."""
    with np.load(BytesIO(content(name, folder)), allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def text(name: str, folder: Path = FOLDER) -> str:
    """A shipped text."""
    return content(name, folder).decode("ascii")


def _sums(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return [(line[:64], line[66:]) for line in lines if line]
