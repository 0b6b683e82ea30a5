"""What `Accelerando` promises: the same method in any units, from any start, resumed anywhere."""

import copy
import io
import pickle

import pytest
import torch

import accelerando
from accelerando import Accelerando, AdamW
from accelerando.engine import registry
from accelerando.errors import HyperparameterError

from .valley import STEPS, Valley, same, walk


def movements(optimizer):
    return [turn.movement for turn in optimizer.trace()]


def test_it_probes_rises_and_settles():
    _, optimizer = walk()
    seen = movements(optimizer)
    assert list(dict.fromkeys(seen)) == ["probe", "rise", "settle"]
    rates = [turn.rate for turn in optimizer.trace()]
    assert max(rates) == pytest.approx(optimizer.found_lr(), rel=0.1)
    assert rates[0] == 1e-6
    assert rates[-1] < 0.05 * max(rates)
    assert seen.count("rise") == pytest.approx(STEPS / 4, abs=2)


def test_it_ends_near_the_best_of_adamws_rates():
    def end(valley):
        with torch.no_grad():
            return float(sum(valley.loss(step) for step in range(STEPS)) / STEPS)

    ours = Valley()
    walk(ours)
    tuned = []
    for lr in (1e-3, 3e-3, 1e-2, 3e-2, 1e-1):
        valley = Valley()
        optimizer = AdamW(valley.params, lr=lr)
        valley.descend(optimizer)
        tuned.append(end(valley))
    initial = end(Valley())
    assert end(ours) - min(tuned) < 0.03 * (initial - min(tuned))
    assert sum(loss - min(tuned) > 0.03 * (initial - min(tuned)) for loss in tuned) >= 3


class TestUnits:
    def test_the_scale_of_the_loss_does_not_matter(self):
        for factor in (2.0**-30, 2.0**40):
            assert same(walk()[0], walk(factor=factor)[0])

    def test_the_scale_of_the_weights_moves_everything_with_it(self):
        plain, _ = walk()
        for scale in (2.0**-7, 2.0**7):
            scaled, optimizer = walk(Valley(scale), lr=1e-6 * scale)
            assert same([p * scale for p in plain], scaled)
            assert optimizer.param_groups[0]["scale"] == scale * walk()[1].param_groups[0]["scale"]

    def test_groups_move_in_their_own_units(self):
        """One tensor is written in units a thousand times as small: in a group of its own it goes the same way."""

        class Mixed(Valley):
            def __init__(self):
                super().__init__()
                self.params[2] = torch.nn.Parameter(self.params[2].detach() * 1024)

            def loss(self, step):
                params = self.params
                self.params = [*params[:2], params[2] / 1024]
                try:
                    return super().loss(step)
                finally:
                    self.params = params

        def split(params):
            return [{"params": params[:2]}, {"params": params[2:], "lr": 1e-6 * 1024 * ratio}]

        def plain(params):
            return [{"params": params[:2]}, {"params": params[2:], "lr": 1e-6 * ratio}]

        ratio = 1.0
        want, one = walk(groups=plain)
        got, other = walk(Mixed(), groups=split)
        assert same(want, [got[0], got[1], got[2] / 1024])
        assert other.found_lr(1) == 1024 * one.found_lr(1)

    def test_one_agreement_for_all_groups(self):
        _, optimizer = walk(groups=lambda params: [{"params": [p]} for p in params])
        rows = [[g[name] for name in Accelerando.memory] for g in optimizer.param_groups]
        assert rows[0] == rows[1] == rows[2]
        assert rows[0][0] == STEPS

    def test_a_group_of_vectors_takes_the_unit_of_the_matrices(self):
        params = [torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.full((4, 4), 0.01))]
        optimizer = Accelerando([{"params": params[:1]}, {"params": params[1:]}])
        assert [g["scale"] for g in optimizer.param_groups] == pytest.approx([0.01, 0.01])

    @pytest.mark.parametrize(
        ("starts", "scale"),
        [
            ([torch.zeros(3, 3)], 0.05),
            ([torch.zeros(3, 3), torch.full((2,), 0.7)], 0.7),
            ([torch.zeros(3, 3), torch.full((2, 2), 0.5)], 0.5),
            ([torch.full((2, 2), 0.1), torch.full((2, 2), 0.2), torch.full((9, 9), 3.0)], 0.2),
            ([torch.tensor([[0.0, 0.5], [0.0, 0.0]])], 0.5),
        ],
    )
    def test_the_unit(self, starts, scale):
        optimizer = Accelerando([torch.nn.Parameter(s) for s in starts])
        assert optimizer.param_groups[0]["scale"] == pytest.approx(scale)
        assert Accelerando([torch.nn.Parameter(s) for s in starts], scale=3.0).param_groups[0]["scale"] == 3.0


class TestStarts:
    def test_a_start_that_is_far_too_large_is_harmless(self):
        assert same(walk(lr=1.0)[0], walk(lr=1e6)[0])
        assert max(t.rate for t in walk(lr=1.0)[1].trace()) <= 0.3 * walk()[1].param_groups[0]["scale"]

    def test_a_start_that_is_far_too_small_costs_a_step_a_decade(self):
        found = [walk(lr=lr)[1] for lr in (1e-8, 1e-4)]
        begun = [sum(t.rate < 1e-4 for t in o.trace() if t.movement == "probe") for o in found]
        assert begun[0] - begun[1] == 4
        assert found[0].found_lr() == pytest.approx(found[1].found_lr(), rel=0.5)

    def test_zero_holds_a_group_still(self):
        valley = Valley()
        before = valley.params[0].detach().clone()
        walk(valley, groups=lambda ps: [{"params": ps[:1], "lr": 0.0}, {"params": ps[1:]}])
        assert torch.equal(valley.params[0], before)
        assert not torch.equal(valley.params[2], Valley().params[2])

    def test_frozen_and_unused_tensors_are_left_alone(self):
        valley = Valley()
        idle = torch.nn.Parameter(torch.full((3, 3), 0.1))
        frozen = torch.nn.Parameter(torch.full((3, 3), 0.1), requires_grad=False)
        got, optimizer = walk(valley, groups=lambda ps: [*ps, idle, frozen], scale=0.3)
        assert same(got, walk(scale=0.3)[0])
        assert torch.equal(idle, frozen)
        assert optimizer.found_lr() is not None


class TestOrdinaryLoops:
    def test_accumulation_is_the_step_on_the_sum(self):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        for step in range(STEPS):
            optimizer.zero_grad()
            for _ in range(2):
                (valley.loss(step) / 2).backward()
            optimizer.step()
        assert same([p.detach() for p in valley.params], walk()[0])

    def test_clipping_inside_is_clipping_before(self):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        for step in range(STEPS):
            optimizer.zero_grad()
            valley.loss(step).backward()
            torch.nn.utils.clip_grad_norm_(valley.params, 0.05)
            optimizer.step()
        for a, b in zip(valley.params, walk(max_grad_norm=0.05)[0], strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)

    def test_a_grad_scaler_changes_nothing(self):
        valley, plain = Valley(dtype=torch.float32), Valley(dtype=torch.float32)
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=10)
        for step in range(STEPS):
            optimizer.zero_grad()
            scaler.scale(valley.loss(step)).backward()
            scaler.step(optimizer)
            scaler.update()
        assert same([p.detach() for p in valley.params], walk(plain)[0])


class TestNonFinite:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize("begun", [20, 60, 100])
    def test_a_skipped_step_halves_the_rate(self, value, begun):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS, on_nonfinite="skip")
        before = valley.descend(optimizer, end=begun)
        rate = optimizer.param_groups[0]["rate"]
        for p in valley.params:
            p.grad = torch.full_like(p, value)
        optimizer.step()
        assert same(before, [p.detach() for p in valley.params])
        assert optimizer.param_groups[0]["rate"] == rate / 2
        valley.descend(optimizer, begin=begun)
        assert all(torch.isfinite(p).all() for p in valley.params)
        assert len(optimizer.trace()) == STEPS

    def test_memory_stays_a_number(self):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        valley.descend(optimizer, end=30)
        valley.params[0].grad[0, 0] = float("nan")
        optimizer.step()
        assert all(
            optimizer.param_groups[0][name] == optimizer.param_groups[0][name] for name in Accelerando.memory
        )


class TestResume:
    @pytest.mark.parametrize("at", [1, 2, 9, 40, 60, 110])
    def test_from_a_state_dict_alone(self, at):
        want, _ = walk()
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        kept = valley.descend(optimizer, end=at)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        other = Valley()
        with torch.no_grad():
            for p, k in zip(other.params, kept, strict=True):
                p.copy_(k)
        twin = Accelerando(other.params, lr=0.5)
        twin.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
        assert same(want, other.descend(twin, begin=at))

    def test_copies_go_on_alike(self):
        for copied in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
            valley = Valley()
            optimizer = Accelerando(valley.params, total_steps=STEPS)
            valley.descend(optimizer, end=50)
            twin, other = copied((valley.params, optimizer))
            valley.params = twin
            assert same(walk()[0], valley.descend(other, begin=50))


class TestGroupsAddedLater:
    def test_they_join_the_run_where_it_is(self):
        valley = Valley()
        optimizer = Accelerando(valley.params[:2], total_steps=STEPS)
        valley.descend(optimizer, end=30)
        optimizer.add_param_group({"params": valley.params[2:]})
        valley.descend(optimizer, begin=30)
        first, second = optimizer.param_groups
        assert [first[n] for n in Accelerando.memory] == [second[n] for n in Accelerando.memory]
        assert second["scale"] > 0
        assert not torch.equal(valley.params[2], Valley().params[2])

    def test_before_the_first_step_they_are_measured_too(self):
        params = [torch.nn.Parameter(torch.full((2, 2), value)) for value in (0.1, 0.4)]
        optimizer = Accelerando(params[:1])
        optimizer.add_param_group({"params": params[1:]})
        assert [g["scale"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.4])


class TestWithoutTotalSteps:
    def test_the_rate_falls_after_the_rise(self):
        valley = Valley()
        optimizer = Accelerando(valley.params)
        for _ in range(2):
            valley.descend(optimizer)
        group = optimizer.param_groups[0]
        age, risen = group["age"], group["risen"]
        assert risen == group["crossed"] + max(40, 2 * group["crossed"])
        assert age > risen
        assert group["rate"] == pytest.approx(group["goal"] * (3 * risen / (2 * risen + age)) ** 0.5)

    @pytest.mark.parametrize("at", [5, 45, 100])
    def test_cooldown(self, at):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=None)
        valley.descend(optimizer, end=at)
        now = optimizer.param_groups[0]["rate"]
        optimizer.cooldown(20)
        shares = []
        for _ in range(20):
            shares.append(optimizer.param_groups[0]["rate"] / now)
            valley.descend(optimizer, begin=at, end=at + 1)
        assert shares == pytest.approx([1 - k / 20 for k in range(20)])
        assert optimizer.param_groups[0]["rate"] == 0

    def test_cooldown_is_refused_where_it_makes_no_sense(self):
        _, optimizer = walk()
        with pytest.raises(HyperparameterError, match=r"steps must be in \[1, inf\), got 0"):
            optimizer.cooldown(0)
        with pytest.raises(HyperparameterError, match="no step was made"):
            Accelerando(Valley().params).cooldown(5)


class TestToAdamW:
    @pytest.mark.parametrize("kind", [AdamW, torch.optim.AdamW], ids=["ours", "torch"])
    @pytest.mark.parametrize("at", [60, 100])
    def test_it_goes_on_the_same_way(self, kind, at):
        want, whole = walk()
        assert whole.param_groups[0]["crossed"] < at
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        valley.descend(optimizer, end=at)
        adamw, scheduler = optimizer.to_adamw(kind)
        for step in range(at, STEPS):
            valley.descend(adamw, begin=step, end=step + 1)
            scheduler.step()
        for got, wanted in zip(valley.params, want, strict=True):
            assert torch.allclose(got, wanted, rtol=1e-11, atol=1e-12)

    @pytest.mark.parametrize("total_steps", [STEPS, None])
    def test_a_probe_under_way_ends(self, total_steps):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=total_steps)
        valley.descend(optimizer, end=12)
        assert optimizer.found_lr() is None
        adamw, scheduler = optimizer.to_adamw()
        rates = []
        for step in range(12, STEPS):
            rates.append(scheduler.get_last_lr()[0])
            valley.descend(adamw, begin=step, end=step + 1)
            scheduler.step()
        assert rates[0] == 0
        assert max(rates) > 0
        assert rates[-1] < max(rates)
        assert all(torch.isfinite(p).all() for p in valley.params)


class TestTrace:
    def test_it_tells_the_rates_that_moved_the_weights(self):
        p = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
        optimizer = Accelerando([p], total_steps=60, weight_decay=0.0, betas=(0.0, 0.99))
        for _ in range(60):
            before = p.detach().clone()
            p.grad = torch.ones_like(p)
            optimizer.step()
            assert float((before - p.detach()).max()) == pytest.approx(optimizer.trace()[-1].rate, rel=1e-9)
        assert [t.step for t in optimizer.trace()] == list(range(1, 61))
        assert optimizer.trace()[-1].agreement == 0 or optimizer.trace()[5].agreement in (0, 1)

    def test_its_memory_is_bounded(self):
        p = torch.nn.Parameter(torch.ones(1, 1))
        optimizer = Accelerando([p], total_steps=10_000)
        optimizer.trace().limit = 64
        for _ in range(1000):
            p.grad = torch.ones_like(p)
            optimizer.step()
        steps = [t.step for t in optimizer.trace()]
        assert len(steps) <= 65
        assert steps[0] == 1
        assert steps[-1] == 1000


def test_it_is_found_by_name():
    assert registry.find("accelerando") is Accelerando
    assert accelerando.optim.create("Accelerando", [torch.nn.Parameter(torch.ones(1))], total_steps=3)


def test_the_buffers_are_adams():
    _, optimizer = walk()
    for state in optimizer.state.values():
        assert sorted(k for k, v in state.items() if torch.is_tensor(v)) == ["exp_avg", "exp_avg_sq", "step"]
