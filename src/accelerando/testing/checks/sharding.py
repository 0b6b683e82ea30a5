"""Sharded parameters: what one rank can show."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, distributed
from torch.nn import Parameter

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, inapplicable, verdict
from accelerando.testing.subject import Subject, gap, gradients, starts


@check("C36", "steps DTensor parameters, or refuses them clearly")
def dtensors(subject: Subject) -> Outcome:
    """Parameters sharded over one rank move as whole ones do; nothing but their type is different."""
    if not distributed.is_available():
        return inapplicable("this torch has no torch.distributed")
    if distributed.is_initialized():
        return inapplicable("a process group is in use")
    one, steps = starts(), gradients(8)
    want = subject.run(one, steps)
    with _one_rank() as shard:
        params = [Parameter(shard(t)) for t in one]
        try:
            optimizer = subject.make(params)
            subject.advance(optimizer, params, [[shard(g) for g in step] for step in steps])
        except Exception as error:
            text = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
            clear = (
                ("DTensor" in text or "shard" in text.lower()) and "aten" not in text and "mixed" not in text
            )
            return verdict(
                clear,
                f"refuses: {text}",
                f"fails obscurely with {type(error).__name__}: {text}",
                message=text,
            )
        got = [p.detach().full_tensor() for p in params]  # type: ignore[attr-defined]
    distance = gap(got, want, one)
    return verdict(
        distance < 1e-5,
        "sharded tensors move as whole ones",
        f"sharded tensors move differently from whole ones: {distance:.2g} of the way",
        gap=distance,
    )


@contextmanager
def _one_rank() -> Iterator[Any]:
    """A process group of one, and a function that shards a tensor over it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    store = distributed.HashStore()  # type: ignore[attr-defined]  # public, but not in the stubs
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))

        def shard(tensor: Tensor) -> Tensor:
            return distribute_tensor(tensor, mesh, [Shard(0) if tensor.dim() else Replicate()])

        yield shard
    finally:
        distributed.destroy_process_group()
