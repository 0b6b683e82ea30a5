"""What the estimates of Prodigy and D-Adaptation must survive, and the packages' own do not."""

import copy
import io
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import accelerando
from accelerando import DAdaptAdam, Prodigy, ScheduleFreeAdamW

BOTH = pytest.mark.parametrize("cls", [Prodigy, DAdaptAdam], ids=lambda cls: cls.__name__)
ALL = pytest.mark.parametrize("cls", [Prodigy, DAdaptAdam, ScheduleFreeAdamW], ids=lambda cls: cls.__name__)
TINY = 1e-30


class Bowl:
    """Two tensors, each on its way to a goal: ``reach`` away from the start, in a valley of ``width``."""

    def __init__(
        self, reach=(1.0, 1.0), width=(1.0, 1.0), shapes=((6, 5), (7,)), dtype=torch.float64, start=1.0
    ):
        source = torch.Generator().manual_seed(4)
        self.source, self.width = source, width
        starts = [
            start * w * torch.ones(shape, dtype=torch.float64) for w, shape in zip(width, shapes, strict=True)
        ]
        self.goals = [
            s + r * w * torch.randn(s.shape, generator=source, dtype=torch.float64)
            for s, r, w in zip(starts, reach, width, strict=True)
        ]
        self.params = [torch.nn.Parameter(s.to(dtype)) for s in starts]

    def slope(self):
        for p, goal, w in zip(self.params, self.goals, self.width, strict=True):
            noise = 0.1 * torch.randn(p.shape, generator=self.source, dtype=torch.float64)
            p.grad = (((p.detach().double() - goal) / w + noise) / w).to(p.dtype)

    def descend(self, optimizer, steps):
        for _ in range(steps):
            self.slope()
            optimizer.step()
        return [p.detach().clone() for p in self.params]


def estimates(optimizer):
    return [g["d"] for g in optimizer.param_groups]


def apart(bowl, **more):
    return [{"params": [p]} | more for p in bowl.params]


@BOTH
def test_one_estimate_for_all_groups(cls):
    whole, split = Bowl(reach=(1.0, 0.01)), Bowl(reach=(1.0, 0.01))
    one, many = cls(whole.params), cls(apart(split))
    want, got = whole.descend(one, 60), split.descend(many, 60)
    assert estimates(many) == [one.param_groups[0]["d"]] * 2
    assert one.param_groups[0]["d"] > 1e-3
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))


@BOTH
def test_a_group_without_gradients_keeps_step(cls):
    bowl = Bowl()
    optimizer = cls(apart(bowl))
    for _ in range(30):
        bowl.slope()
        bowl.params[1].grad = None
        optimizer.step()
    assert len(set(estimates(optimizer))) == 1
    assert estimates(optimizer)[0] > 1e-6


@BOTH
def test_a_group_that_comes_later_takes_the_estimate_over(cls):
    bowl = Bowl()
    optimizer = cls(bowl.params[:1])
    bowl.descend(optimizer, 60)
    found = estimates(optimizer)[0]
    optimizer.add_param_group({"params": bowl.params[1:]})
    assert estimates(optimizer) == [found, found]
    bowl.descend(optimizer, 20)
    assert len(set(estimates(optimizer))) == 1


@BOTH
@pytest.mark.parametrize("ratio", [1e-3, 0.1, 1000.0])
def test_a_group_in_other_units_with_a_rate_to_match_goes_the_same_way(cls, ratio):
    """Weights a thousand times as large, at a thousand times the rate: the same problem, the same way."""
    plain, scaled = Bowl(), Bowl(width=(1.0, ratio))
    sizes = [p.numel() for p in plain.params]
    mean = (sizes[0] + ratio * sizes[1]) / sum(sizes)
    want = plain.descend(cls(apart(plain), eps=TINY), 50)
    optimizer = cls(apart(scaled), eps=TINY, d0=1e-6 * mean)
    for group, rate in zip(optimizer.param_groups, (1.0, ratio), strict=True):
        group["lr"] = rate / mean
    got = scaled.descend(optimizer, 50)
    assert torch.allclose(got[0], want[0], rtol=1e-9)
    assert torch.allclose(got[1] / ratio, want[1], rtol=1e-9)


@BOTH
def test_by_choice_each_group_has_its_own_estimate(cls):
    together = Bowl(width=(1.0, 1e-3))
    optimizer = cls(apart(together), per_group=True)
    together.descend(optimizer, 120)
    large, small = estimates(optimizer)
    assert large / 3000 < small < large / 300
    alone = Bowl(width=(1.0, 1e-3))
    single = cls(alone.params[:1])
    alone.descend(single, 120)
    assert single.param_groups[0]["d"] == large


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_does_not_hold_the_estimate_back(cls, dtype):
    """Weights of one, which a step of d0 cannot move; the gradients are those of float32, rounded."""
    half, single = Bowl(dtype=dtype), Bowl(dtype=torch.float32)
    first = [p.detach().clone() for p in half.params]
    low, full = cls(half.params), cls(single.params)
    end = half.descend(low, 100)
    single.descend(full, 100)
    assert 1e-2 < estimates(full)[0] < 1e2
    assert estimates(full)[0] / 10 < estimates(low)[0] < 10 * estimates(full)[0]
    for p, start, goal in zip(end, first, half.goals, strict=True):
        assert (p.double() - goal).norm() < 0.5 * (start.double() - goal).norm()


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_half_precision_holds_prodigyopt_back_for_ever():
    """What freezes it: its p0 - p is the weights' own difference, and a step of d0 rounds away."""
    prodigyopt = pytest.importorskip("prodigyopt")
    bowl = Bowl(dtype=torch.bfloat16)
    optimizer = prodigyopt.Prodigy(bowl.params)
    bowl.descend(optimizer, 300)
    assert estimates(optimizer) == [1e-6]


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_a_first_estimate_below_float32s_grain_does_not_hold_ours_back():
    """At d0 = 1e-9 a step does not move a float32 weight of one either."""
    prodigyopt = pytest.importorskip("prodigyopt")
    ours, theirs = Bowl(dtype=torch.float32), Bowl(dtype=torch.float32)
    mine, other = Prodigy(ours.params, d0=1e-9), prodigyopt.Prodigy(theirs.params, d0=1e-9)
    ours.descend(mine, 100)
    theirs.descend(other, 100)
    assert estimates(mine)[0] > 1e-2
    assert estimates(other) == [1e-9]


@BOTH
def test_a_gradient_that_is_no_number_leaves_the_estimate_a_number(cls):
    bowl = Bowl()
    optimizer = cls(bowl.params)
    bowl.descend(optimizer, 40)
    before = dict(optimizer.param_groups[0])
    for bad in (math.nan, math.inf):
        bowl.slope()
        bowl.params[1].grad[0] = bad
        optimizer.step()
    after = optimizer.param_groups[0]
    assert all(after[n] == before[n] or math.isfinite(after[n]) for n in type(optimizer).memory)
    assert after["d"] >= before["d"] > 1e-6


@ALL
def test_skipping_such_a_gradient_is_as_if_it_had_not_been(cls):
    calm, rough = Bowl(), Bowl()
    want = calm.descend(cls(calm.params), 60)
    optimizer = cls(rough.params, on_nonfinite="skip")
    for k in range(60):
        rough.slope()
        if k % 7 == 3:
            kept = rough.params[0].grad.clone()
            rough.params[0].grad[0, 0] = math.nan
            optimizer.step()
            rough.params[0].grad = kept
        optimizer.step()
    assert all(torch.equal(a, b.detach()) for a, b in zip(want, rough.params, strict=True))


@ALL
@pytest.mark.parametrize("at", [1, 17, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_goes_on_to_the_bit(cls, at, dtype):
    """Through a file, after any step: weights, buffers and what the groups remember."""
    bowl = Bowl(dtype=dtype)
    optimizer = cls(apart(bowl, weight_decay=0.01), lr=0.5)
    bowl.descend(optimizer, at)
    file = io.BytesIO()
    torch.save({"weights": bowl.params, "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = copy.deepcopy(bowl)
    other.params = [torch.nn.Parameter(p.detach().clone()) for p in saved["weights"]]
    other.source = torch.Generator()
    other.source.set_state(bowl.source.get_state())
    resumed = cls(apart(other))
    resumed.load_state_dict(saved["optimizer"])
    want, got = bowl.descend(optimizer, 40), other.descend(resumed, 40)
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    for mine, its in zip(optimizer.param_groups, resumed.param_groups, strict=True):
        assert {k: v for k, v in mine.items() if k != "params"} == {
            k: v for k, v in its.items() if k != "params"
        }


@BOTH
def test_the_estimate_is_in_sight(cls):
    bowl = Bowl()
    optimizer = cls(bowl.params)
    seen = []
    for _ in range(60):
        bowl.slope()
        optimizer.step()
        seen.append(optimizer.param_groups[0]["d"])
        assert f"d: {seen[-1]}\n" in repr(optimizer)
    assert seen == sorted(seen) and seen[-1] > 100 * seen[0]


class Reads(TorchDispatchMode):
    """Counts what reads a tensor's number, and so would wait for a device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


@ALL
@pytest.mark.parametrize("backend", [None, "eager"])
def test_no_read_per_tensor(cls, backend):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(50)]
    optimizer = cls(params, backend=backend)
    for p in params:
        p.grad = torch.ones(3)
    optimizer.step()
    with Reads() as reads:
        optimizer.step()
    assert reads.count <= 1


@BOTH
def test_rates_of_zero(cls):
    """A schedule that begins at zero; a group at rest; all of them."""
    bowl = Bowl()
    optimizer = cls(apart(bowl), lr=0.0)
    start = [p.detach().clone() for p in bowl.params]
    assert all(torch.equal(a, b) for a, b in zip(start, bowl.descend(optimizer, 5), strict=True))
    assert estimates(optimizer) == [optimizer.param_groups[0]["d0"]] * 2
    optimizer.param_groups[0]["lr"] = 1.0
    moved = bowl.descend(optimizer, 60)
    assert torch.equal(moved[1], start[1]) and not torch.equal(moved[0], start[0])
    assert estimates(optimizer)[0] == estimates(optimizer)[1] > 1e-3


def test_the_names_are_public():
    for name in ("Prodigy", "DAdaptAdam", "ScheduleFreeAdamW"):
        assert getattr(accelerando, name) is getattr(accelerando.optim, name)
        assert name in accelerando.__all__ and name in accelerando.optim.list()
