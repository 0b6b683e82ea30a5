"""What the lens looks for while it records; each check says a thing once."""

import math
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from accelerando.lens.events import Check, Finding, Seen, finding
from accelerando.lens.recipes import CAUSES
from accelerando.lens.rows import heads_of
from accelerando.lens.sampled import Bools, Samples
from accelerando.lens.shapes import risen_past_a_cosine
from accelerando.lens.trails import SelfRaised


class Checks:
    """One of each, for one optimizer."""

    def __init__(self) -> None:
        self._checks: list[Check] = [
            SelfRaised(),
            PastCosine(),
            BetaOverwritten(),
            DistanceStuck(),
            Unmoved(),
            FirstPeak(),
            DecayRules(),
            OtherRate(),
            NotFinite(),
        ]

    def see(self, samples: Samples) -> list[Finding]:
        """The findings of some steps, each with its step's place, step by step."""
        seen = Seen(samples, heads_of(samples))
        return sorted((f for check in self._checks for f in check.see(seen)), key=lambda found: found[0])


class PastCosine:
    """LR102."""

    ROOM = 512

    def __init__(self) -> None:
        self.rates: dict[int, list[tuple[int, float]]] = {}
        self.said: set[int] = set()

    def see(self, seen: Seen) -> Iterator[Finding]:
        """The rate rising again on the curve on which it fell."""
        steps, options = seen.samples.steps.tolist(), seen.samples.options
        for index in range(len(options[0])):
            values = [float(groups[index].get("lr") or 0.0) for groups in options]
            rates = self.rates.setdefault(index, [])
            last = rates[-1][1] if rates else values[0]
            if values.count(last) == len(values):  # it does not rise
                self._note(rates, list(zip(steps, values, strict=True)))
                continue
            for at, rate in enumerate(zip(steps, values, strict=True)):
                self._note(rates, [rate])
                if len(rates) >= 12 and rates[-1][1] > rates[-2][1] and index not in self.said:
                    yield from self._look(seen, at, index, rates)

    def _note(self, rates: list[tuple[int, float]], more: list[tuple[int, float]]) -> None:
        """Take more rates, and where there are too many drop every second one."""
        while more:
            room = self.ROOM + 1 - len(rates)
            rates += more[:room]
            more = more[room:]
            if len(rates) > self.ROOM:
                del rates[1::2]

    def _look(self, seen: Seen, at: int, index: int, rates: list[tuple[int, float]]) -> Iterator[Finding]:
        bottom = risen_past_a_cosine(rates)
        if bottom is not None:
            self.said.add(index)
            low = min(rate for _, rate in rates)
            factor = rates[-1][1] / low if low > 0 else None
            yield finding("LR102", seen, at, f"its end was at about step {bottom}", index, None, factor)


class BetaOverwritten:
    """LR103."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.said: set[int] = set()

    def see(self, seen: Seen) -> Iterator[Finding]:
        """beta1 or momentum other than at the first sample."""
        before = None
        for at, groups in enumerate(seen.samples.options):
            if groups is not before:  # the same object where nothing has changed
                yield from self._look(seen, at)
            before = groups

    def _look(self, seen: Seen, at: int) -> Iterator[Finding]:
        for index, group in enumerate(seen.samples.options[at]):
            betas = group.get("betas")
            now = betas[0] if betas else group.get("momentum")
            if not isinstance(now, int | float):
                continue
            was = self.first.setdefault(index, float(now))
            if now != was and index not in self.said:
                self.said.add(index)
                name = "betas[0]" if betas else "momentum"
                cause = f"{name} was {was:.6g} and is {now:.6g}"
                yield finding("LR103", seen, at, cause, index, None, float(now) / was if was else None)


class DistanceStuck:
    """LR104."""

    AFTER = 50

    def __init__(self) -> None:
        self.said: set[int] = set()
        self.lost: dict[int, bool] = {}

    def see(self, seen: Seen) -> Iterator[Finding]:
        """The first d, d0, still there after 50 steps."""
        if all(group.get("d0") is None for group in seen.samples.options[0]):
            return
        for at in range(len(seen.samples)):
            yield from self._look(seen, at)

    def _look(self, seen: Seen, at: int) -> Iterator[Finding]:
        samples = seen.samples
        for index, group in enumerate(samples.options[at]):
            d, d0 = group.get("d"), group.get("d0")
            if d is None or d0 is None:
                continue
            here = index in samples.frame.present
            gain = seen.heads.gain[at, 1 + samples.frame.present.index(index)] if here else 1.0
            self.lost[index] = self.lost.get(index, True) and not gain > 0
            if samples.steps[at] >= self.AFTER and d <= d0 * (1 + 1e-9) and index not in self.said:
                self.said.add(index)
                why = "gradients and displacement do not correlate yet"
                if self.lost[index]:
                    why = f"no step moved a weight: in {samples.frame.precision} a step of lr·d rounds away"
                yield finding("LR104", seen, at, f"d = {d:.3g}; {why}", index)


class Unmoved:
    """LR105."""

    AFTER = 10

    def __init__(self) -> None:
        self.still: dict[str, int] = {}
        self.settled: Sequence[str] = ()

    def see(self, seen: Seen) -> Iterator[Finding]:
        """A tensor that no sampled step has moved, after ten of them."""
        samples, names = seen.samples, seen.samples.frame.names
        moved = (samples.sum("dd") != 0) | (samples.lr == 0)
        if not (moved.all() and self.settled == names):
            for at, here in enumerate(moved):
                yield from self._tensors(seen, at, here)
            self.settled = names if moved[-1].all() else ()
        for name in samples.frame.idle:
            for at in range(len(samples)):
                yield from self._count(seen, at, name, None, "it has no gradient")

    def _tensors(self, seen: Seen, at: int, moved: Bools) -> Iterator[Finding]:
        frame = seen.samples.frame
        for k, name in enumerate(frame.names):
            if moved[k]:
                self.still[name] = -1
                continue
            pushed = seen.samples.sum("gg")[at, k] > 0
            why = f"its step rounds away in {frame.precision}" if pushed else "its gradient is exactly zero"
            yield from self._count(seen, at, name, frame.groups[k], why)

    def _count(self, seen: Seen, at: int, name: str, group: int | None, why: str) -> Iterator[Finding]:
        if self.still.setdefault(name, 0) >= 0:
            self.still[name] += 1
            if self.still[name] == self.AFTER:
                yield finding("LR105", seen, at, why, group, name)


class FirstPeak:
    """LR106."""

    LATER, SETTLED = 5, 100
    KNOWN, METHOD = 3.0, 5.0  # averaging noise alone shortens a step up to 4.4 times at beta1 = 0.9

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float, float]] = []

    def see(self, seen: Seen) -> Iterator[Finding]:
        """The first step's length, beyond rate and gradients, against five samples from step 100 on."""
        steps = seen.samples.steps
        if len(self.seen) > self.LATER or (not self.seen and steps[0] != 1):
            return
        for at in np.flatnonzero((steps == 1) | (steps >= self.SETTLED)).tolist():
            if self.seen or steps[at] == 1:
                yield from self._look(seen, at)
            if len(self.seen) > self.LATER:
                return

    def _look(self, seen: Seen, at: int) -> Iterator[Finding]:
        gain, norm = float(seen.heads.gain[at, 0]), float(seen.heads.grad_norm[at, 0])
        share = dict(zip(CAUSES, seen.heads.shares[at, 0].tolist(), strict=True))
        if not (gain > 0 and norm > 0 and math.isfinite(gain * norm) and math.isfinite(share["schedule"])):
            return
        known = sum(share[c] for c in ("bias correction", "trust ratio", "distance"))
        self.seen.append((int(seen.samples.steps[at]), known, share["method"], math.log(norm)))
        if len(self.seen) <= self.LATER:
            return
        first, later = self.seen[0], self.seen[1:]
        drop = [first[i] - median(s[i] for s in later) for i in (1, 2, 3)]
        unscaled = drop[1] + min(0.0, drop[2])  # a method that divides by the gradient echoes its growth
        for excess, least, cause in ((drop[0], self.KNOWN, "scalars"), (unscaled, self.METHOD, "method")):
            if excess >= math.log(least):
                yield finding("LR106", seen, at, f"cause: its {cause}", None, None, math.exp(excess))
                return


class DecayRules:
    """LR107."""

    ROW = 5

    def __init__(self) -> None:
        self.times: dict[int, int] = {}

    def see(self, seen: Seen) -> Iterator[Finding]:
        """Decay's share above one half in five samples in a row."""
        for k, group in enumerate(seen.samples.frame.present, start=1):
            shares = seen.heads.decay_share[:, k]
            if self.times.get(group, 0) < 0:
                continue
            if not (shares > 0.5).any():
                self.times[group] = 0
                continue
            for at, share in enumerate(shares.tolist()):
                self.times[group] = self.times.get(group, 0) + 1 if share > 0.5 else 0
                if self.times[group] == self.ROW:
                    self.times[group] = -1
                    cause = f"decay is {share:.0%} of the way the weights went"
                    factor = share / (1 - share) if share < 1 else None
                    yield finding("LR107", seen, at, cause, group, None, factor)
                    break


class OtherRate:
    """LR108."""

    ROW = 5
    LEAST = math.log(1.02)

    def __init__(self) -> None:
        self.off: dict[int, list[float]] = {}

    def see(self, seen: Seen) -> Iterator[Finding]:
        """A remainder where the recipe is the whole method and its direction is the one taken."""
        frame, method = seen.samples.frame, CAUSES.index("method")
        if frame.precision not in ("float32", "float64"):
            return
        for k, group in enumerate(frame.present, start=1):
            off, shares = self.off.setdefault(group, []), seen.heads.shares[:, k, method]
            if len(off) >= self.ROW:
                continue
            odd = np.abs(shares) >= self.LEAST
            if odd.any():
                odd &= _as_the_recipe_says(seen, group)
            if not odd.any():
                off.clear()
                continue
            for at, (share, told) in enumerate(zip(shares.tolist(), odd.tolist(), strict=True)):
                if not told:
                    off.clear()
                    continue
                off.append(share)
                if len(off) == self.ROW:
                    factor, lr = math.exp(median(off)), float(seen.heads.lr[at, k])
                    cause = f"the steps are {factor:.4g} times what lr = {lr:.4g} asks for"
                    yield finding("LR108", seen, at, cause, group, None, factor)
                    break


def _as_the_recipe_says(seen: Seen, group: int) -> Bools:
    """By step, whether all of a group went where a recipe that is all there is to the method points."""
    samples = seen.samples
    mine = np.array(samples.frame.groups) == group
    if not np.array(samples.frame.whole)[mine].all():
        return np.zeros(len(samples), dtype=bool)
    along = (samples.sum("dd") == 0) | (seen.heads.chains.right > 0.9999)
    return np.asarray(along[:, mine].all(axis=1))


class NotFinite:
    """LR109."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def see(self, seen: Seen) -> Iterator[Finding]:
        """The first gradient of a tensor that is not finite."""
        samples, counts = seen.samples, seen.samples.sum("nonfinite")
        for at, row in np.argwhere(counts).tolist() if counts.any() else ():
            name = samples.frame.names[row]
            if name not in self.said:
                self.said.add(name)
                what = f"{counts[at, row]:.0f} of {samples.frame.sizes[row]:.0f} elements"
                yield finding("LR109", seen, at, what, samples.frame.groups[row], name)
