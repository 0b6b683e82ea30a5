"""The tensors on which two optimizers are compared, and the distance between them."""

import torch

SHAPES = ((8, 6), (40, 40), (10,), (10,), ())


def tensors(dtype, *, steps=30, late=0):
    source = torch.Generator().manual_seed(7)

    def draw(shape):
        return torch.randn(shape, generator=source, dtype=torch.float64)

    starts = [draw(shape) for shape in SHAPES]
    starts[1] *= 2
    starts[2].zero_()
    drift = [draw(shape) for shape in SHAPES]
    series = [[(d + draw(d.shape)).to(dtype) for d in drift] for _ in range(steps)]
    for t in range(late):
        series[t][0] = None
    return [s.to(dtype) for s in starts], series


def run(make, dtype=torch.float64, **how):
    starts, series = tensors(dtype, **how)
    params = [torch.nn.Parameter(s.clone()) for s in starts]
    optimizer = make(params)
    for step in series:
        for p, g in zip(params, step, strict=True):
            p.grad = None if g is None else g.clone()
        optimizer.step()
    return starts, [p.detach().double() for p in params]


def distance(ours, theirs, **how):
    starts, left = run(ours, **how)
    _, right = run(theirs, **how)
    return max(
        float((a - b).norm() / (b - o.double()).norm()) for a, b, o in zip(left, right, starts, strict=True)
    )
