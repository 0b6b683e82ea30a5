"""Gradients that are no longer what they were are noticed, with torch's compiled guards and without."""

import pytest
import torch

from accelerando import AdamW
from accelerando.engine.cpu import likeness
from accelerando.engine.cpu.likeness import Likeness

OTHERS = {
    "a size": torch.ones(3, 2),
    "a dtype": torch.ones(2, 2, dtype=torch.float64),
    "strides": torch.ones(4, 2)[::2],
    "a dimension more": torch.ones(2, 2, 2),
}


@pytest.fixture(params=["guards", "plain"], autouse=True)
def kind(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(likeness, "TensorGuards", None)
    elif likeness.TensorGuards is None:
        pytest.skip("this torch has no such guards")


@pytest.mark.parametrize("change", OTHERS)
def test_a_change_is_seen(change):
    like = Likeness([torch.zeros(2, 2), torch.zeros(3)])
    assert like.holds([torch.ones(2, 2), torch.ones(3)])
    assert not like.holds([OTHERS[change], torch.ones(3)])


def test_one_tensor_may_stand_in_two_places():
    shared = torch.ones(3)
    like = Likeness([shared, shared])
    assert like.holds([shared, shared])
    assert like.holds([torch.ones(3), torch.ones(3)])


@pytest.mark.filterwarnings("ignore:AdamW. eager steps what no kernel can step")
@pytest.mark.parametrize("change", ["a dtype", "strides"])
def test_a_step_goes_on_with_another_kind_of_gradient(change):
    p, q = (torch.nn.Parameter(torch.full((2, 2), 5.0)) for _ in range(2))
    ours, plain = AdamW([p], lr=0.1, weight_decay=0.0), torch.optim.AdamW([q], lr=0.1, weight_decay=0.0)
    for given in (torch.ones(2, 2), OTHERS[change], torch.ones(2, 2)):
        p.grad, q.grad = torch.ones(2, 2), torch.ones(2, 2)
        p.grad.data = given
        ours.step()
        plain.step()
    torch.testing.assert_close(p, q)


def test_a_gradient_that_is_gone_is_left_out():
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = AdamW([p, q], lr=0.1)
    p.grad, q.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    before, q.grad = q.detach().clone(), None
    optimizer.step()
    assert torch.equal(q, before)
    assert [int(optimizer.state[t]["step"]) for t in (p, q)] == [2, 1]
