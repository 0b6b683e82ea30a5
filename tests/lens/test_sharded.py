"""Two ranks report what one reports."""

import json
import socket
import subprocess
import sys

import pytest

RANK = """
import json, sys, warnings
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from accelerando.lens import Lens, measure

rank, world, port, kind, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
torch.set_num_threads(1)
torch.manual_seed(0)
full = [torch.randn(*shape, dtype=torch.float64) for shape in ((5, 3), (1,), (4, 4))]
grads = [[torch.randn(p.shape, dtype=torch.float64) for p in full] for _ in range(6)]
places = [Shard(0), Shard(0), Replicate()]
if world > 1:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    share = lambda i, x: distribute_tensor(x, mesh, [places[i]])
else:
    share = lambda i, x: x
params = [nn.Parameter(share(i, p.clone())) for i, p in enumerate(full)]
make = {
    "adamw": lambda: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1, foreach=False),
    "adam": lambda: torch.optim.Adam(params, lr=0.01, weight_decay=0.1, foreach=False),
    "sgd": lambda: torch.optim.SGD(params, lr=0.01, momentum=0.9, foreach=False),
}[kind]
optimizer = make()
with Lens(optimizer, every=2) as lens, measure(optimizer) as measured:
    for step in grads:
        for i, (p, g) in enumerate(zip(params, step)):
            p.grad = share(i, g.clone())
        optimizer.step()
rows = [{k: v for k, v in r.items() if not k.startswith("rate_q")} for r in lens.table()]
readings = [[getattr(r, f) for f in r.__dataclass_fields__] for r in measured.readings]
open(out, "w").write(json.dumps([rows, readings]))
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""


def ranks(tmp_path, kind, world):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outs = [tmp_path / f"{kind}-{world}-{rank}.json" for rank in range(world)]
    children = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(world), str(port), kind, str(out)])
        for rank, out in enumerate(outs)
    ]
    assert [child.wait(120) for child in children] == [0] * world
    return [json.loads(out.read_text()) for out in outs]


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_two_ranks_report_what_one_reports(tmp_path, kind):
    (one,) = ranks(tmp_path, kind, 1)
    for rows, readings in ranks(tmp_path, kind, 2):
        assert len(rows) == len(one[0]) == 3 * 5
        for mine, alone in zip(rows, one[0], strict=True):
            assert mine.keys() == alone.keys()
            for key, value in alone.items():
                wanted = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
                assert mine[key] == wanted, key
        for mine, alone in zip(readings, one[1], strict=True):
            assert mine == pytest.approx(alone, rel=1e-9)
