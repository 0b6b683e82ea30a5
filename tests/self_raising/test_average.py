"""Where the end of a run is not known, `Accelerando` is evaluated at an average of its weights."""

import io

import pytest
import torch

from accelerando import Accelerando
from accelerando.errors import HyperparameterError, ModeWarning, StateError

from .valley import STEPS, Valley, same, walk, weights


class TestAverage:
    def test_is_kept_where_the_end_is_not_known(self):
        valley = Valley()
        optimizer = Accelerando(valley.params)
        trained = valley.descend(optimizer)
        optimizer.eval()
        assert not same(trained, weights(optimizer))
        assert same(weights(optimizer), [optimizer.state[p]["average"] for p in valley.params])
        with pytest.raises(StateError, match="call train"):
            optimizer.step()
        optimizer.train()
        assert same(trained, weights(optimizer))

    def test_is_the_weights_themselves_while_the_probe_lasts(self):
        valley = Valley()
        optimizer = Accelerando(valley.params)
        trained = valley.descend(optimizer, end=12)
        assert optimizer.found_lr() is None
        optimizer.eval()
        assert same(trained, weights(optimizer))

    def test_is_better_than_the_last_weights_where_steps_are_noisy(self):
        def loss(valley):
            with torch.no_grad():
                return float(sum(valley.loss(step) for step in range(STEPS)) / STEPS)

        valley = Valley()
        optimizer = Accelerando(valley.params)
        for _ in range(3):
            valley.descend(optimizer)
        last = loss(valley)
        optimizer.eval()
        assert loss(valley) < last

    def test_evaluating_changes_nothing(self):
        looked, left = Valley(), Valley()
        one, other = Accelerando(looked.params), Accelerando(left.params)
        for step in range(STEPS):
            looked.descend(one, begin=step, end=step + 1)
            one.eval()
            one.train()
        assert same(left.descend(other), weights(one))

    def test_costs_nothing_where_the_end_is_known(self):
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=STEPS)
        trained = valley.descend(optimizer, end=60)
        optimizer.eval()
        assert same(trained, weights(optimizer))
        valley.descend(optimizer, begin=60)  # evaluation took nothing away that a step needs
        optimizer.train()
        assert same(walk()[0], weights(optimizer))

    @pytest.mark.parametrize("asked", [True, False])
    def test_may_be_asked_for_and_done_without(self, asked):
        steps = STEPS if asked else None
        valley = Valley()
        optimizer = Accelerando(valley.params, total_steps=steps, averaging=asked)
        valley.descend(optimizer, end=10)
        assert all(("average" in s) is asked for s in optimizer.state.values())
        assert optimizer.param_groups[0]["averaging"] is asked

    @pytest.mark.parametrize("evaluated", [False, True], ids=["training", "evaluated"])
    @pytest.mark.parametrize("at", [5, 70])
    def test_resumes_to_the_bit(self, at, evaluated):
        want = Valley()
        whole = Accelerando(want.params)
        want.descend(whole)
        whole.eval()
        valley = Valley()
        optimizer = Accelerando(valley.params)
        valley.descend(optimizer, end=at)
        if evaluated:
            optimizer.eval()
        file = io.BytesIO()
        torch.save((optimizer.state_dict(), weights(optimizer)), file)
        other = Valley()
        twin = Accelerando(other.params, total_steps=7, averaging=False)
        state, kept = torch.load(io.BytesIO(file.getvalue()))
        twin.load_state_dict(state)
        with torch.no_grad():
            for p, k in zip(other.params, kept, strict=True):
                p.copy_(k)
        twin.train()
        other.descend(twin, begin=at)
        twin.eval()
        assert same(weights(whole), weights(twin))

    @pytest.mark.parametrize("evaluated", [False, True], ids=["training", "evaluated"])
    def test_is_dropped_by_a_cooldown(self, evaluated):
        valley = Valley()
        optimizer = Accelerando(valley.params)
        before = valley.descend(optimizer, end=70)
        if evaluated:
            optimizer.eval()
        optimizer.cooldown(50)
        assert same(before, weights(optimizer))
        after = valley.descend(optimizer, begin=70)
        optimizer.eval()
        assert same(after, weights(optimizer))
        assert not any("average" in s for s in optimizer.state.values())

    def test_is_left_behind_by_adamw(self):
        valley = Valley()
        optimizer = Accelerando(valley.params)
        trained = valley.descend(optimizer, end=70)
        optimizer.eval()
        adamw, _ = optimizer.to_adamw(torch.optim.AdamW)
        assert same(trained, weights(optimizer))
        assert all(sorted(s) == ["exp_avg", "exp_avg_sq", "step"] for s in adamw.state.values())

    def test_is_kept_of_groups_that_come_later(self):
        valley = Valley()
        optimizer = Accelerando(valley.params[:2])
        valley.descend(optimizer, end=70)
        optimizer.add_param_group({"params": valley.params[2:], "total_steps": 500})
        valley.descend(optimizer, begin=70)
        assert "average" in optimizer.state[valley.params[2]]
        assert [optimizer.param_groups[1][n] for n in Accelerando.memory] == [
            optimizer.param_groups[0][n] for n in Accelerando.memory
        ]

    def test_all_groups_or_none(self):
        params = Valley().params
        with pytest.raises(HyperparameterError, match=r"averaging must be the same .* got True \(group 1\)"):
            Accelerando([{"params": params[:1]}, {"params": params[1:], "averaging": True}], total_steps=9)
        with pytest.raises(
            HyperparameterError, match=r"averaging must be True, False or None, got 'yes' \(group 0\)"
        ):
            Accelerando([{"params": params, "averaging": "yes"}])
        with pytest.raises(HyperparameterError, match="averaging must be True, False or None, got 1"):
            Accelerando(params, averaging=1)

    def test_a_model_in_the_wrong_mode_is_told_once(self):
        model = torch.nn.Linear(3, 2)
        optimizer = Accelerando(model.parameters())
        optimizer.watch(model)
        x = torch.ones(4, 3)
        model(x).sum().backward()
        optimizer.step()
        model.eval()
        with pytest.warns(ModeWarning, match="call eval"):
            model(x)
        model(x)

    def test_a_model_is_not_watched_where_there_is_no_average(self):
        model = torch.nn.Linear(3, 2)
        optimizer = Accelerando(model.parameters(), total_steps=20)
        optimizer.watch(model)
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        model.eval()
        model(torch.ones(4, 3))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_is_kept_at_full_precision(self, dtype):
        valley = Valley(dtype=dtype)
        optimizer = Accelerando(valley.params, store="stochastic")
        valley.descend(optimizer)
        average = [optimizer.state[p]["average"] for p in valley.params]
        assert all(a.dtype == torch.float32 for a in average)
        assert not all(torch.equal(a, a.to(dtype).float()) for a in average)
