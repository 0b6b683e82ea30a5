"""The methods that are judged, each behind one door: ``make(model, steps, lr)`` → something that steps."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from agree import Agree
from torch import Tensor, nn

Factor = Callable[[int], float]


def decayed(steps: int, warm: float, decay: str) -> Factor:
    """Linear warm-up over the share ``warm`` of the run, then cosine or linear to zero."""
    rise = max(1, round(warm * steps))

    def factor(t: int) -> float:
        if t < rise:
            return (t + 1) / rise
        left = (steps - t) / max(1, steps - rise)
        return left if decay == "linear" else 0.5 * (1 - math.cos(math.pi * left))

    return factor


def trainable(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


class Stepper:
    """An optimizer whose ``lr`` follows a factor; ``rate`` tells the rate of the last step."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: Factor, lr: float) -> None:
        self.optimizer, self.factor, self.lr, self.t, self.rate = optimizer, factor, lr, 0, 0.0

    def step(self, loss: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.factor(self.t)
        self.optimizer.step()
        self.rate = self.optimizer.param_groups[0]["lr"] * self.optimizer.param_groups[0].get("d", 1.0)
        self.t += 1

    def finish(self) -> None:
        """Put the weights that are to be judged in place."""

    def told(self) -> dict[str, Any]:
        """What the method knows of itself at the end."""
        return {}


def adamw(warm: float, decay: str, beta2: float = 0.999) -> Callable[..., Stepper]:
    def make(model: nn.Module, steps: int, lr: float) -> Stepper:
        optimizer = torch.optim.AdamW(trainable(model), lr=lr, betas=(0.9, beta2), fused=True)
        return Stepper(optimizer, decayed(steps, warm, decay), lr)

    return make


class Polyak(Stepper):
    """One-shot Polyak start, PJ: 0.35 mean(L) / (1.2533 mean|g|₁) over five still batches, then warm-up and linear."""

    def __init__(self, model: nn.Module, steps: int, lr: float) -> None:
        optimizer = torch.optim.AdamW(trainable(model), lr=0.0, fused=True)
        super().__init__(optimizer, decayed(steps - 5, 0.05, "linear"), 0.0)
        self.params, self.losses, self.norms = trainable(model), 0.0, 0.0

    def step(self, loss: float) -> None:
        if self.t < 5:
            self.losses += loss
            self.norms += sum(float(p.grad.abs().sum()) for p in self.params if p.grad is not None)
            self.t += 1
            return
        self.lr = 0.35 * self.losses / (1.2533 * self.norms)
        self.t -= 5
        super().step(loss)
        self.t += 5


def prodigy(**options: Any) -> Callable[..., Stepper]:
    """Prodigy with cosine; the start rate is its ``d0``."""

    def make(model: nn.Module, steps: int, lr: float) -> Stepper:
        from prodigyopt import Prodigy

        return Stepper(
            Prodigy(trainable(model), lr=1.0, d0=lr, **options), decayed(steps, 0.0, "cosine"), 1.0
        )

    return make


def d_adaptation(model: nn.Module, steps: int, lr: float) -> Stepper:
    from dadaptation import DAdaptAdam

    return Stepper(DAdaptAdam(trainable(model), lr=1.0, d0=lr), decayed(steps, 0.0, "cosine"), 1.0)


class ScheduleFree(Stepper):
    """Schedule-Free AdamW with its warm-up of 5 %; the start rate is its ``lr``."""

    def __init__(self, model: nn.Module, steps: int, lr: float) -> None:
        from schedulefree import AdamWScheduleFree

        self.model = model
        optimizer = AdamWScheduleFree(trainable(model), lr=lr, warmup_steps=max(1, round(0.05 * steps)))
        super().__init__(optimizer, lambda t: 1.0, lr)
        optimizer.train()

    def finish(self) -> None:
        self.optimizer.eval()


class Own(Stepper):
    """Ours, by the door every user takes."""

    def __init__(self, model: nn.Module, steps: int, lr: float, **options: Any) -> None:
        from accelerando import Accelerando

        self.optimizer = Accelerando(trainable(model), lr, **({"total_steps": steps} | options))
        self.rate = 0.0

    def step(self, loss: float) -> None:
        self.optimizer.step()
        self.rate = self.optimizer.trace()[-1].rate

    def finish(self) -> None:
        self.optimizer.eval()

    def told(self) -> dict[str, Any]:
        return {
            "found": self.optimizer.found_lr(),
            "climb": sum(r.movement == "probe" for r in self.optimizer.trace()),
        }


def endless(model: nn.Module, steps: int, lr: float) -> Stepper:
    """Ours without being told when it ends, judged at its average."""
    return Own(model, steps, lr, total_steps=None)


METHODS: dict[str, Callable[..., Stepper]] = {
    "adamw w5 cosine": adamw(0.05, "cosine"),
    "adamw w5 linear": adamw(0.05, "linear"),
    "adamw w25 cosine": adamw(0.25, "cosine"),
    "adamw w25 linear": adamw(0.25, "linear"),
    "adamw w25 linear .99": adamw(0.25, "linear", 0.99),
    "PJ": Polyak,
    "prodigy": prodigy(),
    "prodigy safe": prodigy(use_bias_correction=True, safeguard_warmup=True),
    "d-adaptation": d_adaptation,
    "schedule-free": ScheduleFree,
    "AGREE": Agree,
    "accelerando": Own,
    "endless": endless,
}  # fmt: skip


def train(task: Any, make: Callable[..., Stepper], seed: int, lr: float) -> dict[str, Any]:
    """One run: losses, the rates at 80 places (seed 0), and what the method says of itself."""
    torch.manual_seed(seed)
    model = task.model()
    initial = float(task.evaluate(model)["loss"])
    stepper = make(model, task.steps, lr)
    losses: list[float] = []
    rates: list[float] = []
    for _, batch in zip(range(task.steps), task.batches(seed), strict=False):
        model.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        losses.append(float(loss.detach()))
        stepper.step(losses[-1])
        rates.append(stepper.rate)
    stepper.finish()
    tail = losses[-max(1, task.steps // 10) :]
    return {
        "initial": initial,
        "held_out": float(task.evaluate(model)["loss"]),
        "train": sum(tail) / len(tail),
        "train_initial": sum(losses[:5]) / len(losses[:5]),
        "steps": task.steps,
        "rates": thinned(rates, 80) if seed == 0 else [],
        **stepper.told(),
    }


def thinned(values: Sequence[float], count: int) -> list[float]:
    places = sorted({round(i * (len(values) - 1) / (count - 1)) for i in range(count)})
    return [float(f"{values[p]:.4g}") for p in places]


warnings.filterwarnings("ignore", module="dadaptation|prodigyopt|schedulefree")
