"""The one place that writes learning rates: on each optimizer, the product of all that change them."""

from collections.abc import Iterable
from typing import Any

import torch

Row = list[float]


class Ledger:
    """Rates of one optimizer as products: reference × outside × the factors of the schedulers on it.

    *reference* is a group's rate at factor 1 (its ``initial_lr``, times timm's ``lr_scale`` where a group
    has one). *outside* is what other hands did to ``group["lr"]``: the user, a host, a scheduler of another
    library. A change that this ledger did not write is read as a factor and kept, so no scheduler undoes
    another's work.

    The ledger is itself the optimizer's step post-hook, so that it counts the steps that really happened,
    and lives where hooks live: a copied or unpickled optimizer has none until a scheduler of the copy brings
    its own.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.done = 0
        self.counts = True
        self.references: Row = []
        self.outside: Row = []
        self.written: Row = []
        self.rows: dict[str, Row] = {}
        self._stamps: list[tuple[Any, int] | None] = []
        self._undecided: list[torch.Tensor] = []
        self._stale: set[int] = set()
        self.observe(optimizer)

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer) -> "Ledger":
        """The optimizer's ledger; made and hooked on if it has none."""
        hooked = hookable(optimizer)
        found = cls._on(hooked)
        if found is None:
            found = cls(optimizer)
            found.attach(optimizer)
        return found

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Hook this ledger on an optimizer that has none."""
        hooked = hookable(optimizer)
        if self._on(hooked) is not None:
            return
        if hooked is None:
            self.counts = False
        else:
            hooked.register_step_post_hook(self)

    @staticmethod
    def _on(hooked: torch.optim.Optimizer | None) -> "Ledger | None":
        hooks = () if hooked is None else hooked._optimizer_step_post_hooks.values()
        return next((hook for hook in hooks if isinstance(hook, Ledger)), None)

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Count a step; one whose skipping is decided on the device is asked about later."""
        found = getattr(optimizer, "found_inf", None)
        if isinstance(found, torch.Tensor):
            self._undecided.append(found)
        else:
            self.done += 1

    def steps_done(self) -> int:
        """Optimizer steps that changed weights, so far in this process."""
        self.done += sum(1 for found in self._undecided if not found.item())
        self._undecided.clear()
        return self.done

    def observe(self, optimizer: torch.optim.Optimizer) -> None:
        """Take in groups that were added and rates that another hand has changed."""
        for i, group in enumerate(optimizer.param_groups):
            if i == len(self.written):
                self._add(group)
            elif not self._untouched(i, group["lr"]):
                self._credit(i, float(group["lr"]))
                self._stamp(i, group["lr"])

    def set(self, optimizer: torch.optim.Optimizer, key: str, factors: Iterable[float]) -> None:
        """Write the rates with new factors of ``key``; a group where nothing moved is left alone."""
        self.observe(optimizer)
        before = [self.product(i) for i in range(len(self.written))]
        self.rows[key] = list(factors)
        for i, group in enumerate(optimizer.param_groups):
            if i in self._stale or self.product(i) != before[i]:
                self.write(i, group, self._target(i))
        self._stale.clear()

    def write(self, i: int, group: dict[str, Any], lr: float) -> None:
        """Set one group's rate; a tensor is filled, never replaced."""
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
            on_host = group["lr"].device.type == "cpu"
            self.written[i] = float(group["lr"]) if on_host else _rounded(lr, group["lr"].dtype)
        else:
            group["lr"] = self.written[i] = lr
        self._stamp(i, group["lr"])

    def rebase(self, i: int, group: dict[str, Any], lr: float) -> None:
        """Make ``lr`` the rate at factor 1 of a group, as a scheduler that names its rates outright does."""
        group["initial_lr"] = lr
        self.references[i] = lr * float(group.get("lr_scale", 1.0))
        self.outside[i] = 1.0
        self._stale.add(i)

    def forgive_zero(self, i: int) -> None:
        """Start afresh on a group that a finished run has left at rate 0."""
        if self.outside[i] == 0.0:
            self.start_over(i)

    def start_over(self, i: int) -> None:
        """Forget what other hands did to a group."""
        self.outside[i] = 1.0
        self._stale.add(i)

    def drop(self, optimizer: torch.optim.Optimizer, key: str) -> None:
        """Take a scheduler's factors out of the product."""
        self.set(optimizer, key, [])
        del self.rows[key]

    def product(self, i: int) -> float:
        """The factors of all schedulers on group ``i``; one that has not seen the group yet counts as 1."""
        total = 1.0
        for row in self.rows.values():
            total *= row[i] if i < len(row) else 1.0
        return total

    def name_for(self, kind: str) -> str:
        """A key for a scheduler, the same in every process that builds the same ones in the same order."""
        taken = 0
        while f"{kind}#{taken}" in self.rows:
            taken += 1
        return f"{kind}#{taken}"

    def snapshot(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        self.observe(optimizer)
        return {
            "references": list(self.references),
            "outside": list(self.outside),
            "written": list(self.written),
            "lr": [float(group["lr"]) for group in optimizer.param_groups],
        }

    def restore(self, optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
        """Go back to a snapshot, rates included; groups it does not know stay as they are."""
        self.observe(optimizer)
        known = zip(saved["lr"], optimizer.param_groups, strict=False)
        for i, (lr, group) in enumerate(known):
            self.write(i, group, lr)
            self.references[i] = saved["references"][i]
            self.outside[i] = saved["outside"][i]
            self.written[i] = saved["written"][i] if lr != saved["written"][i] else self.written[i]

    def _add(self, group: dict[str, Any]) -> None:
        lr = float(group["lr"])
        known = "initial_lr" in group
        group.setdefault("initial_lr", lr)
        reference = float(group["initial_lr"]) * float(group.get("lr_scale", 1.0))
        i = len(self.written)
        self.references.append(reference)
        self.outside.append(lr / reference if known and reference else 1.0)
        self.written.append(lr)
        self._stamps.append(None)
        self._stamp(i, group["lr"])
        if not known and reference != lr:
            self.write(i, group, reference)

    def _credit(self, i: int, lr: float) -> None:
        if lr == self.written[i]:
            return
        inside = self.references[i] * self.product(i)
        if inside:
            self.outside[i] = lr / inside
        elif not self.references[i] and self.product(i):
            self.references[i], self.outside[i] = lr / self.product(i), 1.0
        self.written[i] = lr

    def _target(self, i: int) -> float:
        return self.references[i] * self.outside[i] * self.product(i)

    def _untouched(self, i: int, lr: Any) -> bool:
        stamp = self._stamps[i]
        if isinstance(lr, torch.Tensor):  # no look at the value: that would wait for the device
            return stamp is not None and stamp[0] is lr and stamp[1] == lr._version
        return bool(lr == self.written[i])

    def _stamp(self, i: int, lr: Any) -> None:
        self._stamps[i] = (lr, lr._version) if isinstance(lr, torch.Tensor) else None


def hookable(optimizer: Any) -> torch.optim.Optimizer | None:
    """The optimizer, or the one it wraps, on which step hooks can be registered; None if there is none."""
    seen: list[int] = []
    while optimizer is not None and id(optimizer) not in seen:
        if "_optimizer_step_post_hooks" in getattr(optimizer, "__dict__", {}):
            found: torch.optim.Optimizer = optimizer
            return found
        seen.append(id(optimizer))
        optimizer = getattr(optimizer, "optimizer", None)
    return None


def _rounded(value: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(value, dtype=dtype))
