"""One sound optimizer, and for every check of the battery one that is broken in just that way."""

import types

import torch


class Sound(torch.optim.Optimizer):
    """Adam, small and careful: it must pass everything."""

    def __init__(
        self,
        params,
        lr=1e-2,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        amsgrad=False,
        maximize=False,
        foreach=None,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def wide(self, p):
        return torch.promote_types(p.dtype, torch.float32)

    def fresh(self, p):
        zeros = torch.zeros_like(p, dtype=self.wide(p))
        return {"step": torch.zeros(()), "m": zeros, "v": zeros.clone(), "v_max": zeros.clone()}

    def rate(self, group):
        return group["lr"]

    def betas(self, group):
        return group["betas"]

    def live(self):
        return [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]

    def faked(self, live):
        still = all(float(g["lr"]) == 0 for _, g in live) and all(not p.grad.any() for p, _ in live)
        return still and not self.state

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        live = self.live()
        if any(p.grad.is_sparse for p, _ in live):
            self.refuse_sparse()
        faked = self.faked(live)
        for p, group in live:
            if not self.state[p]:
                self.state[p].update(self.fresh(p))
            if not faked:
                self.one(p, group, self.state[p])
        return loss

    def refuse_sparse(self):
        raise RuntimeError("Sound does not take sparse gradients")

    def gradient(self, p, group):
        g = p.grad.to(self.wide(p))
        return -g if group["maximize"] else g

    def direction(self, p, group, state):
        b1, b2 = self.betas(group)
        g = self.gradient(p, group) + group["weight_decay"] * p.to(self.wide(p))
        state["step"] += 1
        t = int(state["step"])
        state["m"].mul_(b1).add_(g, alpha=1 - b1)
        state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        torch.maximum(state["v_max"], state["v"], out=state["v_max"])
        v = state["v_max"] if group["amsgrad"] else state["v"]
        return state["m"] / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + group["eps"])

    def one(self, p, group, state):
        p.copy_(p.to(self.wide(p)) - self.rate(group) * self.direction(p, group, state))

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        here = [p for group in self.param_groups for p in group["params"]]
        there = [name for group in state_dict["param_groups"] for name in group["params"]]
        for name, p in zip(there, here, strict=True):
            if name in state_dict["state"]:
                self.state[p] = {k: v.clone() for k, v in state_dict["state"][name].items()}


class Lists(Sound):
    def __init__(self, params, lr=1e-2):
        assert len(params) > 0
        super().__init__(params, lr)


class Bare(Sound):
    def __init__(self, params, lr=1e-2):
        params = list(params)
        if isinstance(params[0], tuple):
            raise TypeError("tensors only")
        super().__init__(params, lr)


class Swallows(Sound):
    def __init__(self, params, lr=1e-2, **kwargs):
        super().__init__(params, lr)


class Forgets(Sound):
    def add_param_group(self, group):
        known = {"params", "param_names", *self.defaults}
        super().add_param_group({k: v for k, v in group.items() if k in known})


class FirstRate(Sound):
    def rate(self, group):
        return self.param_groups[0]["lr"]


class DefaultBetas(Sound):
    def betas(self, group):
        return self.defaults["betas"]


class CachedBetas(Sound):
    """Right for what the group was given, stale for what is set there later."""

    def add_param_group(self, group):
        super().add_param_group(group)
        self.param_groups[-1]["kept"] = self.param_groups[-1]["betas"]

    def betas(self, group):
        return group["kept"]


class IdleOption(Sound):
    def direction(self, p, group, state):
        return super().direction(p, {**group, "amsgrad": False}, state)


class OnSelf(Sound):
    def __init__(self, params, lr=1e-2, factor=1.0):
        super().__init__(params, lr)
        self.factor = factor

    def rate(self, group):
        return self.factor * group["lr"]


class Closed(Sound):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.first = [(p, group) for group in self.param_groups for p in group["params"]]

    def live(self):
        return [(p, group) for p, group in self.first if p.grad is not None]


class Talks(Sound):
    def one(self, p, group, state):
        print("a step")
        super().one(p, group, state)


class Deaf(Sound):
    def step(self, closure=None):
        return super().step()


class GradientsOff(Sound):
    def step(self, closure=None):
        with torch.no_grad():
            loss = closure() if closure is not None else None
        super().step()
        return loss


class Writes(Sound):
    def gradient(self, p, group):
        return p.grad.mul_(2.0).to(self.wide(p)) / 2


class MovesAll(Sound):
    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(0.99)
        return super().step(closure)


class OneClock(Sound):
    def direction(self, p, group, state):
        group["clock"] = max(group.get("clock", 0), int(state["step"]))
        state["step"].fill_(group["clock"])
        return super().direction(p, group, state)


class Obscure(Sound):
    def refuse_sparse(self):
        raise RuntimeError("wrong storage")


BARE_STEP = Sound.step  # taken before torch wraps it, at the first optimizer that is made


class Unhooked(Sound):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.step = types.MethodType(BARE_STEP, self)


class Counts(Sound):
    def rate(self, group):
        return group["lr"] * sum(1 / p.numel() for p in group["params"]) ** 0


class Maximizes(Sound):
    def gradient(self, p, group):
        return -p.grad.abs() if group["maximize"] else p.grad.to(self.wide(p))


class Thing:
    def clone(self):
        return self


class Holds(Sound):
    def fresh(self, p):
        return {**super().fresh(p), "thing": Thing()}


class HoldsList(Sound):
    def fresh(self, p):
        return {**super().fresh(p), "sizes": list(p.shape)}


class Casts(Sound):
    def load_state_dict(self, state_dict):
        torch.optim.Optimizer.load_state_dict(self, state_dict)

    def one(self, p, group, state):
        for name in ("m", "v", "v_max"):
            state[name] = state[name].to(self.wide(p))
        super().one(p, group, state)


class StepsAnyway(Sound):
    def faked(self, live):
        return False


class LoadsAnything(Sound):
    def load_state_dict(self, state_dict):
        try:
            super().load_state_dict(state_dict)
        except ValueError:
            self.state.clear()


class Restless(Sound):
    def rate(self, group):
        return group["lr"] + 1e-4


class NumbersOnly(Sound):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, float(lr))


class Stubborn(Sound):
    def add_param_group(self, group):
        super().add_param_group(group)
        self.param_groups[-1]["kept"] = self.param_groups[-1]["lr"]

    def rate(self, group):
        return group["kept"]


class NeverSmall(Sound):
    def rate(self, group):
        if 0 < group["lr"] < 1e-4:
            raise ValueError("the rate is too small")
        return group["lr"]


class ScalesWrongly(Sound):
    _step_supports_amp_scaling = True

    def gradient(self, p, group):
        return super().gradient(p, group) / getattr(self, "grad_scale", torch.ones(())).to(p.device)


class NoEps(Sound):
    def direction(self, p, group, state):
        return super().direction(p, {**group, "eps": 0.0}, state)


class NarrowState(Sound):
    def wide(self, p):
        return p.dtype


class NarrowNumbers(Sound):
    def wide(self, p):
        return p.dtype

    def betas(self, group):
        dtype = group["params"][0].dtype
        return tuple(float(torch.tensor(b, dtype=dtype)) for b in group["betas"])

    def direction(self, p, group, state):
        b1, b2 = self.betas(group)
        if b2 == 1.0:
            state["step"] += 1
            return state["m"].mul_(b1).add_(p.grad, alpha=1 - b1) / group["eps"]
        return super().direction(p, group, state)


class Single(Sound):
    def one(self, p, group, state):
        step = self.rate(group) * self.direction(p, group, state)
        p.copy_(p.float() - step.float())


class SingleGradients(Sound):
    def gradient(self, p, group):
        return super().gradient(p, group).float().to(self.wide(p))


class ByNorm(Sound):
    def one(self, p, group, state):
        before = p.clone()
        super().one(p, group, state)
        p.copy_(before + (p - before) * before.norm().clamp(max=1.0))


class Clips(Sound):
    def gradient(self, p, group):
        whole = torch.stack([q.grad.norm().float() for q, _ in self.live()]).norm()
        return super().gradient(p, group) / whole.clamp(min=1.0)


class Ordered(Sound):
    def direction(self, p, group, state):
        ramp = torch.arange(p.numel(), dtype=self.wide(p)).reshape(p.shape)
        return super().direction(p, group, state) * (1 + 0.1 * ramp)


class Divides(Sound):
    def rate(self, group):
        return group["lr"] / len(self.param_groups)


class Clamps(Sound):
    def gradient(self, p, group):
        return super().gradient(p, group).clamp(-3, 3)

    def direction(self, p, group, state):
        return super().direction(p, group, state) * state["v"].sqrt().clamp(max=3.0)


class Leaps(Sound):
    def one(self, p, group, state):
        before = p.clone()
        super().one(p, group, state)
        p.copy_(before + (p - before) / (1 - 0.9 ** int(state["step"])))


class TwoWays(Sound):
    def rate(self, group):
        return group["lr"] * (1.001 if group["foreach"] else 1.0)


class NoBias(Sound):
    def direction(self, p, group, state):
        return super().direction(p, group, state) * (1 - 0.9 ** int(state["step"]))


class Decouples(Sound):
    def direction(self, p, group, state):
        direction = super().direction(p, {**group, "weight_decay": 0.0}, state)
        return direction + group["weight_decay"] * p


class LateMaximum(Sound):
    def direction(self, p, group, state):
        b1, b2 = self.betas(group)
        super().direction(p, group, state)
        t = int(state["step"])
        v = state["v"] / (1 - b2**t)
        state["v_max"].copy_(torch.maximum(state.setdefault("peak", v.clone()), v))
        state["peak"] = state["v_max"].clone()
        v = state["v_max"] if group["amsgrad"] else v
        return state["m"] / (1 - b1**t) / (v.sqrt() + group["eps"])


class Numpies(Sound):
    def gradient(self, p, group):
        return torch.from_numpy(p.grad.to_local().numpy() if hasattr(p.grad, "to_local") else p.grad.numpy())


class Ranked(Sound):
    def rate(self, group):
        sharded = any(hasattr(p, "device_mesh") for p in group["params"])
        return group["lr"] * (0.9 if sharded else 1.0)


class Remembers(Sound):
    def one(self, p, group, state):
        kept = self.state[p].setdefault("kept", p.data)
        p.data = kept
        super().one(p, group, state)


BROKEN = [
    ("C01", Lists),
    ("C02", Bare),
    ("C03", Swallows),
    ("C04", Forgets),
    ("C05", FirstRate),
    ("C06", DefaultBetas),
    ("C06", CachedBetas),
    ("C07", IdleOption),
    ("C08", OnSelf),
    ("C09", Closed),
    ("C10", Talks),
    ("C11", Deaf),
    ("C11", GradientsOff),
    ("C12", Writes),
    ("C13", MovesAll),
    ("C14", OneClock),
    ("C15", Obscure),
    ("C16", Unhooked),
    ("C17", Counts),
    ("C18", Maximizes),
    ("C19", OnSelf),
    ("C20", OnSelf),
    ("C21", Holds),
    ("C22", Casts),
    ("C23", Casts),
    ("C24", Holds),
    ("C25", StepsAnyway),
    ("C26", HoldsList),
    ("C27", LoadsAnything),
    ("C28", Restless),
    ("C29", NumbersOnly),
    ("C30", Stubborn),
    ("C31", NeverSmall),
    ("C32", ScalesWrongly),
    ("C33", NoEps),
    ("C34", NarrowState),
    ("C35", NarrowNumbers),
    ("C36", Numpies),
    ("C36", Ranked),
    ("C37", Remembers),
    ("I01", Single),
    ("I01", SingleGradients),
    ("I02", ByNorm),
    ("I03", Clips),
    ("I04", Ordered),
    ("I05", Divides),
    ("I06", Clamps),
    ("I07", Leaps),
    ("I08", TwoWays),
    ("P01", NoBias),
    ("P02", Decouples),
    ("P03", LateMaximum),
    ("P04", OneClock),
]
