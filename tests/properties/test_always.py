"""What must always hold, on shapes, layouts and numbers that nobody chose."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from .shipped import SHIPPED

SETTINGS = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
LAYOUTS = ("plain", "transposed", "every second", "expanded storage")


@st.composite
def tensors(draw, dtypes=(torch.float32, torch.float64, torch.bfloat16)):
    """A start, of any shape of at most three axes, empty and scalar ones among them."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 17]), max_size=3)))
    source = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
    return (scale * torch.randn(shape, generator=source, dtype=torch.float64)).to(
        draw(st.sampled_from(dtypes))
    )


@st.composite
def problems(draw, **how):
    starts = draw(st.lists(tensors(**how), min_size=1, max_size=4))
    source = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    series = [
        [torch.randn(s.shape, generator=source, dtype=torch.float64).to(s.dtype) for s in starts]
        for _ in range(draw(st.integers(1, 7)))
    ]
    return starts, series


def laid_out(tensor, layout):
    """The same values in another memory layout."""
    if layout == "transposed" and tensor.dim() >= 2:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "every second" and tensor.dim() >= 1:
        wide = tensor.new_zeros((*tensor.shape, 2))
        wide[..., 0] = tensor
        return wide[..., 0]
    if layout == "expanded storage":
        store = tensor.new_zeros(tensor.numel() + 3)
        return store[3:].view(tensor.shape).copy_(tensor)
    return tensor.clone()


def walk(cls, starts, series, *, layout="plain", **options):
    params = [torch.nn.Parameter(laid_out(s, layout)) for s in starts]
    optimizer = cls(params, **options)
    for step in series:
        for p, g in zip(params, step, strict=True):
            p.grad = laid_out(g, layout)
        optimizer.step()
    return [p.detach() for p in params]


def close(left, right, starts, bar):
    return all(
        float((a.double() - b.double()).norm()) <= bar * (float((b.double() - s.double()).norm()) + 1e-30)
        or float((a.double() - b.double()).norm()) <= 1e-15 * float(b.double().norm())
        for a, b, s in zip(left, right, starts, strict=True)
    )


each = pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.__name__)


@each
@SETTINGS
@given(problem=problems(), layout=st.sampled_from(LAYOUTS))
def test_gradients_are_read_only(cls, problem, layout):
    starts, series = problem
    params = [torch.nn.Parameter(laid_out(s, layout)) for s in starts]
    optimizer = cls(params)
    for step in series:
        grads = [laid_out(g, layout) for g in step]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.step()
        assert all(p.grad is g for p, g in zip(params, grads, strict=True))
        assert all(torch.equal(g, want) for g, want in zip(grads, step, strict=True))


@each
@SETTINGS
@given(problem=problems(), layout=st.sampled_from(LAYOUTS))
def test_shape_type_and_place_are_kept(cls, problem, layout):
    starts, series = problem
    params = [torch.nn.Parameter(laid_out(s, layout)) for s in starts]
    before = [(p.data_ptr(), p.stride(), p.shape, p.dtype, p._version) for p in params]
    optimizer = cls(params)
    for p, g in zip(params, series[0], strict=True):
        p.grad = laid_out(g, layout)
    optimizer.step()
    for p, (address, stride, shape, dtype, version) in zip(params, before, strict=True):
        assert (p.data_ptr(), p.stride(), p.shape, p.dtype) == (address, stride, shape, dtype)
        assert p.numel() == 0 or p._version > version
        assert torch.isfinite(p).all()
        for value in optimizer.state[p].values():
            assert not isinstance(value, torch.Tensor) or value.shape in ((), p.shape)


@each
@SETTINGS
@given(problem=problems())
def test_a_zero_gradient_moves_nothing(cls, problem):
    starts, series = problem
    still = [[torch.zeros_like(g) for g in step] for step in series]
    params = walk(cls, starts, still, weight_decay=0.0)
    assert all(torch.equal(p, s) for p, s in zip(params, starts, strict=True))


@each
@SETTINGS
@given(problem=problems(dtypes=(torch.float64,)), layout=st.sampled_from(LAYOUTS[1:]))
def test_the_layout_does_not_matter(cls, problem, layout):
    starts, series = problem
    want = walk(cls, starts, series)
    got = walk(cls, starts, series, layout=layout)
    assert close(got, want, starts, 1e-12)


@each
@SETTINGS
@given(problem=problems(dtypes=(torch.float64,)), data=st.data())
def test_the_order_does_not_matter(cls, problem, data):
    starts, series = problem
    order = data.draw(st.permutations(range(len(starts))))
    want = walk(cls, starts, series)
    got = walk(cls, [starts[i] for i in order], [[step[i] for i in order] for step in series])
    assert close(got, [want[i] for i in order], [starts[i] for i in order], 1e-12)


@each
@SETTINGS
@given(problem=problems(dtypes=(torch.float64,)))
def test_a_group_can_be_split(cls, problem):
    starts, series = problem
    own = {"scale": 0.1} if "scale" in cls.fields else {}  # else measured over the tensors of a group
    want = walk(cls, starts, series, **own)
    params = [torch.nn.Parameter(s.clone()) for s in starts]
    optimizer = cls([{"params": [p]} for p in params], **own)
    for step in series:
        for p, g in zip(params, step, strict=True):
            p.grad = g.clone()
        optimizer.step()
    assert close([p.detach() for p in params], want, starts, 1e-12)
