"""Kernel modules, compiled once per machine and kept."""

import hashlib
import platform
import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from accelerando.engine import cache as kept
from accelerando.engine.anatomy import Rule
from accelerando.engine.cpu import source
from accelerando.engine.cpu.source import Kernel, Scheme


@cache
def why_not() -> str | None:
    """Why kernels cannot be compiled here; None if they can."""
    if np.dtype(np.intp).itemsize != 8:
        return "kernels need 64-bit addresses"
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return None


@cache
def has_float16() -> bool:
    """Whether this processor converts float16."""
    import llvmlite.binding as llvm

    return platform.machine().lower() in ("aarch64", "arm64") or bool(
        llvm.get_host_cpu_features().get("f16c")
    )


_modules: dict[tuple[int, Scheme, bool, bool], ModuleType] = {}


def kernels(kernel: Kernel) -> ModuleType:
    """The compiled module of a kernel: ``first``, ``settle``, ``second``."""
    key = (id(kernel.rule), kernel.scheme, kernel.settles, kernel.tells)
    if key not in _modules:
        stem = (
            re.sub(r"\W+", "_", f"{kernel.rule.name}_{kernel.scheme}{'_telling' * kernel.tells}")
            .strip("_")
            .lower()
        )
        _modules[key] = kept.load(stem, source.text(kernel), *_ingredients())
        _rules[id(kernel.rule)] = kernel.rule
    return _modules[key]


_rules: dict[int, Rule] = {}
"""Rules with kernels, kept so that no other rule takes over an id."""


@cache
def measure(storage: str) -> Any:
    """``measure(table, chunks, out, begin, end)``: squares and non-finite elements of gradients, per chunk."""
    return kept.load(f"measure_{storage}", source.measure_text(storage), *_ingredients()).measure


def around_operations(stem: str, text: str) -> ModuleType:
    """A module of one's own that calls what kernels call."""
    return kept.load(stem, text, *_ingredients())


@cache
def _ingredients() -> tuple[str, ...]:
    called = [_hash(f"accelerando.engine.{name}") for name in ("cpu.operations", "cpu.rounding", "hashing")]
    return *called, version("numba"), version("torch"), platform.machine(), platform.processor()


def _hash(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise AssertionError(module)
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
