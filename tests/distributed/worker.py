"""One rank: runs every case and writes down what came out. ``worker.py rank world folder [backend]``.

With a backend, it steps all rules of the matrix and is the matrix alone.
"""

import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

sys.path.insert(0, str(Path(__file__).parent))
import cases  # type: ignore[import-not-found]
import matrix  # type: ignore[import-not-found]


def main(rank: int, world: int, folder: Path, only: str | None = None) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store-{world}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=240),
    )
    mesh = init_device_mesh("cpu", (world,))
    found = {}
    for name, cls in matrix.RULES.items():
        backend = only or ("cpu" if cls in matrix.COMPILED else "eager")
        for layout in matrix.SHAPES:
            found[name, layout] = matrix.walk(cls, layout, mesh, rank, world, backend=backend)
    for case in cases.CASES if only is None else ():
        found[case.__name__] = case(mesh, rank, world, folder)
    torch.save(found, folder / f"{world}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
