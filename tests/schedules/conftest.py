import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Run:
    """An optimizer with gradients to step on, and the rates it used."""

    def __init__(self, lr=0.1, groups=1, kind=torch.optim.AdamW, **options):
        lrs = lr if isinstance(lr, list) else [lr] * groups
        parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in lrs]
        parts = [{"params": [p], "lr": rate} for p, rate in zip(parameters, lrs, strict=True)]
        self.optimizer = kind(parts, lr=lrs[0], **options)
        for p in parameters:
            p.grad = torch.full_like(p, 0.1)

    @property
    def lr(self):
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def lrs(self):
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def follow(self, scheduler, steps, feed=None):
        """The rates of the next steps, the optimizer stepped and then the scheduler."""
        rates = []
        for t in range(steps):
            rates.append(self.lrs)
            self.optimizer.step()
            scheduler.step() if feed is None else scheduler.step(feed(t))
        return rates


@pytest.fixture
def run():
    return Run
