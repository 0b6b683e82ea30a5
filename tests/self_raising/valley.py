"""One small problem, and runs over it, that the tests of this folder share."""

import torch

from accelerando import Accelerando

STEPS = 120


class Valley:
    """Noisy linear regression with two layers, in float64; the batches are the same for every run."""

    def __init__(self, scale=1.0, dtype=torch.float64, seed=0):
        source = torch.Generator().manual_seed(seed)
        self.scale = scale
        draw = lambda *shape: torch.randn(*shape, generator=source, dtype=torch.float64)  # noqa: E731
        starts = [0.3 * draw(8, 6), torch.zeros(6, dtype=torch.float64), 0.4 * draw(6, 3)]
        self.params = [torch.nn.Parameter((scale * s).to(dtype)) for s in starts]
        goal = draw(8, 3)
        self.batches = [(x, x @ goal + 0.3 * draw(16, 3)) for x in (draw(16, 8) for _ in range(STEPS))]

    def loss(self, step):
        x, y = self.batches[step]
        first, bias, second = (p / self.scale for p in self.params)
        return (torch.tanh(x.to(first.dtype) @ first + bias) @ second - y.to(first.dtype)).square().mean()

    def descend(self, optimizer, begin=0, end=STEPS, factor=1.0):
        for step in range(begin, end):
            optimizer.zero_grad()
            (factor * self.loss(step)).backward()
            optimizer.step()
        return [p.detach().clone() for p in self.params]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def walk(valley=None, factor=1.0, groups=lambda params: params, **options):
    valley = valley or Valley()
    optimizer = Accelerando(groups(valley.params), **{"total_steps": STEPS, **options})
    return valley.descend(optimizer, factor=factor), optimizer


def weights(optimizer):
    return [p.detach().clone() for g in optimizer.param_groups for p in g["params"]]
