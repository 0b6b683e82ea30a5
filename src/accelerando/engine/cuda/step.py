"""A whole step on one device: no number of it is made on the host, and the host waits for nothing.

The engine hands over the items to be stepped (`lots.Item`: group, rule, parameter, gradient, state) and keeps
calling `DeviceStep.run` with their gradients for as long as the items are the same and `DeviceStep.fits` says so;
otherwise it builds another one, which takes everything over from states and groups. Ask `why_not` of each item and
`why_not_together` of all first. That gradients stay laid out as their parameters is the engine's to check.

Taken over, and living on the device from then on: each state's ``step`` (0-dim float32), memory per tensor in the
state and memory per group in the group (0-dim float64 tensors). Given by others and only read: parameters'
addresses, buffers, gradients, hyperparameters, the scaler's two numbers. Hyperparameters may be numbers, sent when
they change, or tensors on the device, copied there in every step.

Under CUDA-graph capture nothing but gradients' addresses may be new: run one step before. A replay makes the next
step with a count, decisions and hyperparameters that are the device's; after changing a plain number in a group,
call `refresh` before the replay. ``on_nonfinite="raise"`` waits for the device, and cannot be captured.
"""

from collections.abc import Sequence
from operator import attrgetter, is_

import torch

from accelerando.engine.cuda.adopt import adopt, remembered
from accelerando.engine.cuda.family import Deal, Family, Numbers
from accelerando.engine.cuda.layout import geometry, scheme_of
from accelerando.engine.cuda.look import Look
from accelerando.engine.cuda.mirror import Mirror, capturing
from accelerando.engine.cuda.refusals import why_not, why_not_together
from accelerando.engine.lots import Item

_address, _dtype = torch.Tensor.data_ptr, attrgetter("dtype")
__all__ = ["DeviceStep", "why_not", "why_not_together"]


class DeviceStep:
    """The step of an optimizer's items on their device.

    Args:
        owner: the optimizer's name, for messages.
        items: what is stepped, in the order of the groups, all on one device.
        deal: how elements are dealt to programs, for a rule and a scheme of dtypes.
    """

    def __init__(self, owner: str, items: Sequence[Item], deal: Deal = geometry) -> None:
        self.owner, self.items, self.deal = owner, list(items), deal
        self.device = items[0].p.device
        adopt(self.items, self.device)
        self.params = [i.p for i in self.items]
        self.places = remembered(self.items) + [(i.state, b) for i in self.items for b in i.kept()]
        self.held = [owner[name] for owner, name in self.places]
        self.tensors = [t for i in self.items for t in (i.p, *i.kept().values())]
        self.fixed = list(map(_address, self.tensors))
        self.dtypes = [i.g.dtype for i in self.items]
        self.groups = list({id(i.group): i.group for i in items}.values())
        rules = list(dict.fromkeys(i.rule for i in items))
        self.families = [self._family([i for i in self.items if i.rule is rule]) for rule in rules]
        self.numbers = [Numbers(f) for f in self.families]
        self.calm = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.unscaled = (torch.zeros(1, device=self.device), torch.ones(1, device=self.device))
        self.look: Look | None = None
        self.policies = [(False, "propagate")] * len(self.groups)
        self.waits = False
        self.rounds = (False, True) if any(f.twice for f in self.families) else (False,)
        self.gradients = self._vector()
        self.given: list[int] = []
        self.vectors: list[torch.Tensor] = []

    def fits(self, grads: Sequence[torch.Tensor]) -> bool:
        """Whether the tables still hold for the same items: addresses, states and dtypes are what they were."""
        return (
            list(map(_address, self.tensors)) == self.fixed
            and list(map(_dtype, grads)) == self.dtypes
            and all(map(is_, [owner[name] for owner, name in self.places], self.held))
        )

    def run(
        self, grads: Sequence[torch.Tensor], found_inf: torch.Tensor | None = None,
        grad_scale: torch.Tensor | None = None,
    ) -> None:  # fmt: skip
        """Make a step with ``grads``, one for each item, in their order.

        Args:
            grads: dense, and laid out as their parameters.
            found_inf: the scaler's 0-dim or one-element float32 tensor; anything but 0 in it skips the step.
            grad_scale: the scaler's factor, which gradients are divided by.

        Raises:
            FloatingPointError: a gradient is not finite, and its group's policy is ``"raise"``; nothing has changed.
            RuntimeError: under capture, something but gradients' addresses would have to be made or sent.
        """
        self.refresh()
        vectors = self._send(grads, found_inf, grad_scale)
        control = self.calm
        if self.look is not None:
            control = self.look.run(vectors[-1])
            if self.waits and self._stops(control, grads):
                return
        for second in self.rounds:
            for family, vector, numbers in zip(self.families, vectors, self.numbers, strict=False):
                family.launch(second, vector, numbers.vector, control)
        torch.autograd.graph.increment_version(self.params)

    def refresh(self) -> None:
        """Send the hyperparameters that have changed; survey gradients if a group now asks for it."""
        policies = [(g["max_grad_norm"] is not None, g["on_nonfinite"]) for g in self.groups]
        if policies != self.policies:
            if capturing(self.device):
                raise RuntimeError(self._late("max_grad_norm or on_nonfinite of a group"))
            asks = any(clips or policy != "propagate" for clips, policy in policies)
            self.look = Look(self.items, self.deal) if asks else None
            self.policies, self.gradients, self.given = policies, self._vector(), []
            self.waits = any(policy == "raise" for _, policy in policies)
        sent = [numbers.update() for numbers in self.numbers]
        if any(sent) and capturing(self.device):
            raise RuntimeError(self._late("a hyperparameter"))

    def _late(self, what: str) -> str:
        return (
            f"{self.owner}: {what} is new to the device, which a CUDA graph would send in every replay; make one step "
            "with the same settings before the capture"
        )

    def _stops(self, control: torch.Tensor, grads: Sequence[torch.Tensor]) -> bool:
        """Whether this step must not be made; the host waits to know."""
        if not float(control[1]):
            return False
        for item, g in zip(self.items, grads, strict=True):
            policy = item.group["on_nonfinite"]
            if policy != "propagate" and not bool(torch.isfinite(g).all()):
                if policy == "skip":
                    return True
                raise FloatingPointError(
                    f"{self.owner}: a gradient is not finite ({item.place}); nothing was changed; lower the rate, "
                    "look at the loss, or set on_nonfinite='skip'"
                )
        return False

    def _family(self, items: list[Item]) -> Family:
        return Family(items[0].rule, items, [scheme_of(i) for i in items], self.deal)

    def _all(self) -> list[Family]:
        return [*self.families, *([self.look.family] if self.look else [])]

    def _vector(self) -> Mirror:
        room = sum(len(f.addresses([0] * len(f.items))) for f in self._all())
        return Mirror([0] * room, torch.int64, self.device)

    def _send(
        self, grads: Sequence[torch.Tensor], found_inf: torch.Tensor | None, grad_scale: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """The addresses that each family reads, on the device; sent if they are not there."""
        scaler = [
            (self.unscaled[0] if found_inf is None else found_inf).data_ptr(),
            (self.unscaled[1] if grad_scale is None else grad_scale).data_ptr(),
        ]
        given = [*scaler, *map(_address, grads)]
        record = capturing(self.device)
        if given == self.given and not record:
            return self.vectors
        address = dict(zip(map(id, self.params), given[2:], strict=True))
        entries: list[float] = []
        ends = []
        for family in self._all():
            own = family.addresses([address[id(i.p)] for i in family.items])
            own[:2] = scaler
            entries += own
            ends.append(len(entries))
        if record:
            vector = self.gradients.captured(entries)
        else:
            self.gradients.update(entries)
            vector = self.gradients.vector
        vectors = [vector[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        if not record:
            self.given, self.vectors = given, vectors
        return vectors
