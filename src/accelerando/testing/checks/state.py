"""State: copies, checkpoints and what they carry."""

import copy
import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter, ParameterList

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, failed, passed, verdict
from accelerando.testing.subject import (
    Subject,
    gap,
    gradients,
    parameters,
    ready,
    same_bits,
    starts,
)

BEFORE, AFTER = 6, 6
"""Steps before and after a copy is taken: past RAdam's first rectified step."""


def _halfway(subject: Subject, dtype: torch.dtype = torch.float32) -> tuple[list[Parameter], Any]:
    params = parameters(starts(dtype))
    optimizer = subject.make(params)
    subject.advance(optimizer, params, gradients(BEFORE, dtype))
    return params, optimizer


def _continues(
    subject: Subject,
    want: tuple[Sequence[Tensor], Any],
    got: tuple[Sequence[Tensor], Any],
    dtype: torch.dtype = torch.float32,
) -> Outcome:
    origin = [p.detach().clone() for p in want[0]]
    rest = gradients(AFTER, dtype, seed=9)
    left = subject.advance(want[1], want[0], rest)
    right = subject.advance(ready(got[1]), got[0], rest)
    distance = gap(right, left, origin)
    ours, theirs = _buffers(*want), _buffers(*got)
    changed = sorted(
        name for name in ours.keys() | theirs.keys() if not _agree(ours.get(name, []), theirs.get(name, []))
    )
    if same_bits(left, right) and changed:
        return failed(f"the copy's way is the same so far, but {', '.join(changed)} differ", gap=distance)
    return verdict(
        same_bits(left, right),
        "the copy continues to the last bit",
        f"the copy's way differs by {distance:.2g} of the original's",
        gap=distance,
    )


def _buffers(params: Sequence[Tensor], optimizer: Any) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {}
    for p in params:
        for name, value in optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor):
                found.setdefault(str(name), []).append(value)
    return found


def _agree(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return len(left) == len(right) and same_bits(left, right)


@check("C19", "deepcopy continues identically")
def deepcopied(subject: Subject) -> Outcome:
    """Parameters and optimizer copied together go the same way."""
    params, optimizer = _halfway(subject)
    return _continues(subject, (params, optimizer), copy.deepcopy((params, optimizer)))


@check("C20", "pickle continues identically")
def pickled(subject: Subject) -> Outcome:
    """Parameters and optimizer pickled together and read back go the same way."""
    params, optimizer = _halfway(subject)
    return _continues(subject, (params, optimizer), pickle.loads(pickle.dumps((params, optimizer))))


@check("C21", "a weights_only checkpoint continues identically")
def checkpointed(subject: Subject) -> Outcome:
    """``state_dict`` through ``torch.save`` and ``torch.load(weights_only=True)`` into a new optimizer."""
    return _through_a_file(subject, torch.float32)


@check("C22", "so it does with bfloat16 parameters")
def checkpointed_bf16(subject: Subject) -> Outcome:
    """The same with bfloat16 parameters, where loading casts wider state to the parameter's type."""
    return _through_a_file(subject, torch.bfloat16)


def _through_a_file(subject: Subject, dtype: torch.dtype) -> Outcome:
    params, optimizer = _halfway(subject, dtype)
    file = io.BytesIO()
    torch.save({"params": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = parameters(saved["params"])
    resumed = subject.make(again)
    resumed.load_state_dict(saved["optimizer"])
    return _continues(subject, (params, optimizer), (again, resumed), dtype)


@check("C23", "loading keeps the state's dtypes")
def dtypes_kept(subject: Subject) -> Outcome:
    """With bfloat16 parameters no buffer changes its type by being saved and loaded."""
    params, optimizer = _halfway(subject, torch.bfloat16)
    again = parameters(params)
    resumed = subject.make(again)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before, after = _dtypes(optimizer), _dtypes(resumed)
    changed = {
        name: f"{before[name]} → {after.get(name)}" for name in before if before[name] != after.get(name)
    }
    return verdict(
        not changed,
        "every buffer keeps its type",
        f"changes type on loading: {', '.join(f'{k} {v}' for k, v in changed.items())}",
        changed=changed,
    )


def _dtypes(optimizer: Any) -> dict[str, str]:
    return {
        name: str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
        for state in optimizer.state.values()
        for name, value in (state.items() if isinstance(state, Mapping) else ())
    }


@check("C24", "state holds tensors and numbers only")
def plain_state(subject: Subject) -> Outcome:
    """Flat distributed checkpoints take nothing else."""
    _, optimizer = _halfway(subject)
    odd = {
        str(name): type(value).__name__
        for state in optimizer.state.values()
        for name, value in state.items()
        if not isinstance(value, (Tensor, int, float))
    }
    named = ", ".join(f"{k} ({v})" for k, v in odd.items())
    return verdict(not odd, "tensors and numbers only", f"also holds {named}", odd=odd)


class _Model(Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = ParameterList(parameters(starts()))


@check("C25", "the checkpoint library's fake first step changes nothing")
def fake_step(subject: Subject) -> Outcome:
    """Asking for the state before the first step makes a fake one, with lr 0 and zero gradients."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = _Model()
    params = list(model.layers)
    optimizer = subject.make(params)
    get_optimizer_state_dict(model, optimizer)
    got = subject.advance(ready(optimizer), params, gradients(8))
    want = subject.run(starts(), gradients(8))
    distance = gap(got, want, starts())
    return verdict(
        same_bits(got, want),
        "the run after it is the run without it",
        f"the run after it differs by {distance:.2g} of the way",
        gap=distance,
    )


@check("C26", "a flat distributed checkpoint continues identically")
def flat_checkpoint(subject: Subject) -> Outcome:
    """``get_`` and ``set_optimizer_state_dict`` with a flat state dict."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    flat = StateDictOptions(flatten_optimizer_state_dict=True)
    model, other = _Model(), _Model()
    optimizer, resumed = subject.make(list(model.layers)), subject.make(list(other.layers))
    subject.advance(optimizer, list(model.layers), gradients(BEFORE))
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=flat))
    other.load_state_dict(model.state_dict())
    set_optimizer_state_dict(other, resumed, saved, options=flat)
    return _continues(subject, (list(model.layers), optimizer), (list(other.layers), resumed))


@check("C27", "refuses a state dict of other shapes")
def foreign_state(subject: Subject) -> Outcome:
    """A checkpoint with another number of parameters is refused, and the optimizer still steps."""
    params, optimizer = _halfway(subject)
    small = parameters(starts()[:1])
    other = subject.make(small)
    subject.advance(other, small, gradients(1, shapes=[(4, 3)]))
    try:
        optimizer.load_state_dict(other.state_dict())
    except Exception as error:
        subject.advance(optimizer, params, gradients(1))
        return passed(f"refuses it with {type(error).__name__}")
    return failed("loads a state dict of one parameter into five")
