"""The shell: a real `torch.optim.Optimizer` around a rule."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch.optim import optimizer as torch_shell

from accelerando.engine import registry, state, stepping, stores
from accelerando.engine.anatomy import MEMBERS, Rule, assemble
from accelerando.engine.cuda.plan import DevicePlan
from accelerando.engine.fields import Cap, check, fields_of
from accelerando.engine.options import OPTIONS, say_once, say_what_runs
from accelerando.engine.sharding import refuse_partition
from accelerando.engine.telemetry import Observer, Telemetry
from accelerando.engine.tensors import refuse
from accelerando.errors import HyperparameterError, RuleError, StateError


def _no_scalars():  # type: ignore[no-untyped-def]
    return ()


def _descend(p, u, lr):  # type: ignore[no-untyped-def]
    return p - lr * u


class Optimizer(torch.optim.Optimizer):
    """A method written as pure functions, stepped on tensors; subclass it to write a method.

    A subclass declares its hyperparameters as annotated fields with defaults, and the members of a rule:
    ``buffers``, ``scalars``, ``direction``, ``sums``, ``decide``, ``memory``, ``when`` and ``apply``. The
    functions
    are static, stay inside the rule grammar, and bind arguments and results by name. ``variants`` maps a
    boolean
    field to the members that are replaced where it is True.

    Every method takes the engine's options as keywords or group keys: ``maximize``, ``max_grad_norm`` (the
    gradients of all groups that set it are scaled by ``min(1, max_grad_norm / (norm + 1e-6))``, inside the
    step;
    ``.grad`` is never written), ``on_nonfinite`` (``"propagate"``, ``"skip"`` the whole step, or
    ``"raise"``),
    ``backend`` (None chooses by device, dtype and layout; ``"cpu"``, compiled kernels, and ``"eager"``, plain tensor
    operations, demand), and torch's ``foreach`` and ``fused``, which change nothing but are answered once.

    Low precision, three options more, of any method; rules compute in float32 whatever is chosen:

    - ``store``: how bfloat16 and float16 parameters are written. ``"nearest"``; ``"stochastic"``, up or down by
      chance, on average right; ``"compensated"``, bfloat16 alone: the nearest, with the 16 bits that rounding loses
      in the state's ``remainder`` (int16), so that the method walks in float32 for two more bytes. Wider parameters
      are stored exactly whatever it says, which is said once by `BackendWarning`.
    - ``state_dtype``: None keeps buffers in float32 (float64 for float64 parameters); ``"bf16"`` keeps those that
      start at zero in bfloat16, stored stochastically, since an average with a decay near 1 stalls under nearest
      rounding.
    - ``store_seed``: a whole number in [0, 2³²). Random bits are a hash of it, the step, the parameter's place and
      the element's index, so a run that is saved and resumed draws the same ones, on any backend.
    """

    scalars: ClassVar[Any] = staticmethod(_no_scalars)
    direction: ClassVar[Any] = None
    apply: ClassVar[Any] = staticmethod(_descend)
    buffers: ClassVar[Any] = ()
    sums: ClassVar[Mapping[str, str]] = {}
    memory: ClassVar[Mapping[str, float | str]] = {}
    when: ClassVar[Literal["now", "next"]] = "now"
    decide: ClassVar[Any] = None
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    absent: ClassVar[Mapping[str, Any]] = {}
    """Field → what it means that a loaded group lacks it, where that is not the default."""

    _telemetry: Telemetry | None = None
    _observers: tuple[Observer, ...] = ()
    _plan: Any = None
    """What the engine knows from the last step; not part of the state, and made anew when it is gone."""
    fields: ClassVar[dict[str, Any]] = {}
    rules: ClassVar[dict[str | None, Rule]] = {}

    def __init_subclass__(cls) -> None:
        cls.fields = fields_of(cls, Optimizer)
        members = {m: inspect.getattr_static(cls, m) for m in MEMBERS}
        if members["direction"] is None:
            raise RuleError(f"{cls.__name__}: a method needs `direction(p, g, ...)`, which returns u first")
        cls.rules = {None: assemble(cls.__name__, _plain(members), cls.fields)}
        for flag, replaced in cls.variants.items():
            cls.rules[flag] = assemble(
                f"{cls.__name__}({flag}=True)", _plain(members | dict(replaced)), cls.fields
            )
        cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]
        registry.register(cls)

    def __init__(self, params: Any, lr: Any = None, **options: Any) -> None:
        owner = type(self).__name__
        if lr is not None:
            options["lr"] = lr
        known = self.fields | OPTIONS
        for name in options:
            if name not in known:
                raise HyperparameterError(
                    f"{owner}: there is no option {name!r}; the options are {', '.join(known)}"
                )
        defaults = {n: options.get(n, getattr(type(self), n)) for n in self.fields}
        defaults |= {n: options.get(n, default) for n, (_, default) in OPTIONS.items()}
        _check_group(owner, self.fields, defaults, "")
        super().__init__(params, defaults)
        say_what_runs(owner, self.param_groups)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its options are checked before anything changes."""
        owner, place = type(self).__name__, f" (group {len(self.param_groups)})"
        _check_group(owner, self.fields, param_group, place)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            for index, p in enumerate(group["params"]):
                where = f"group {len(self.param_groups) - 1}, parameter {index}"
                refuse(owner, p, where, self.rule_of(group))
                stores.check(owner, p, where, group)
            refuse_partition(owner, group, self.rule_of(group), f"group {len(self.param_groups) - 1}")
        except Exception:
            self.param_groups.pop()
            raise
        rule = self.rule_of(group)
        state.begin_memory(group, rule, [g for g in self.param_groups[:-1] if self.rule_of(g) is rule])

    @classmethod
    def rule_of(cls, group: Mapping[str, Any]) -> Rule:
        """The rule that a group's flags select."""
        for flag, rule in cls.rules.items():
            if flag is not None and group.get(flag):
                return rule
        return cls.rules[None]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; ``closure`` is called first, with gradients enabled, and its loss returned."""
        if (
            self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
            or torch_shell._global_optimizer_pre_hooks or torch_shell._global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        ):  # fmt: skip
            return _step_with_hooks(self, *(() if closure is None else (closure,)))
        return _step(self, closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch would wrap every step in a profiler record

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a step takes a gradient scaler's numbers as they are on the device, and the host need not wait."""
        return isinstance(self.__dict__.get("_plan"), DevicePlan)

    def _measure(self, keep: Sequence[float] | None = None) -> Telemetry | None:
        """Let the coming step yield its sums, with what decoupled decay leaves of each group's weights.

        Returns:
            What everyone gets who asks for the same before that step.
            None where the step is made on a device as a whole, and is to be measured from outside.
        """
        if self._on_device():
            return None
        keeps = keep or [1.0] * len(self.param_groups)
        asked = self._telemetry
        if asked is None or list(asked.keeps.values()) != list(keeps):
            asked = self._telemetry = Telemetry(self.param_groups, keeps)
        return asked

    def _age(self) -> float | None:
        """How many steps every parameter has made; None if they differ, or none is known to have made one."""
        plan = self.__dict__.get("_plan")
        ages = [] if plan is None or isinstance(plan, DevicePlan) else plan.pool.ages.tolist()
        return float(ages[0]) if ages and ages.count(ages[0]) == len(ages) else None

    def _on_device(self) -> bool:
        plan = self.__dict__.get("_plan")
        if plan is not None:
            return isinstance(plan, DevicePlan) or plan.captured
        return any(p.is_cuda for g in self.param_groups for p in g["params"])

    def _observe(self, observer: Observer) -> bool:
        """Let an observer see every step, until `_forget`; False where a subclass has a ``step`` around ours."""
        if hasattr(type(self).step, "__wrapped__"):  # torch has wrapped it, for its hooks
            return False
        self._observers = (*self._observers, observer)
        return True

    def _forget(self, observer: Observer) -> None:
        """Let it see no more."""
        self._observers = tuple(o for o in self._observers if o is not observer)

    def load_state_dict(self, state_dict: Any) -> None:
        """Load a state dict of this class or of torch's namesake; states keep their full precision."""
        owner = type(self).__name__
        self._plan = None
        seen: dict[str, Any] = {}

        def look(_: Any, given: Any) -> None:
            seen.update(given)

        handle = self.register_load_state_dict_pre_hook(look)
        try:
            self._check_loaded(state_dict)
            super().load_state_dict(state_dict)
        except (KeyError, ValueError) as error:
            if isinstance(error, StateError):
                raise
            raise StateError(
                f"{owner}: the state dict does not fit ({error}); load it into the optimizer it is of"
            ) from error
        finally:
            handle.remove()
        state.restore(self, seen)

    def _check_loaded(self, state_dict: Any) -> None:
        owner = type(self).__name__
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise StateError(
                f"{owner}: a state dict has the keys 'state' and 'param_groups', got {type(state_dict).__name__}"
            )
        state.check_saved(owner, self, state_dict)
        for index, group in enumerate(state_dict["param_groups"]):
            _check_group(
                owner, self.fields, {k: v for k, v in group.items() if k in self.fields}, f" (group {index})"
            )

    def __setstate__(self, values: dict[str, Any]) -> None:
        super().__setstate__(values)
        for group in self.param_groups:
            for name, meant in self.absent.items():
                if name not in group:
                    group[name] = meant
                    say_once(
                        f"{type(self).__name__}: the loaded state has no {name}; it is taken as {meant:g}"
                    )
            for name, default in self._missing().items():
                group.setdefault(name, default)
            state.begin_memory(group, self.rule_of(group))

    def _missing(self) -> dict[str, Any]:
        """What a group loaded from elsewhere gets where it lacks a key."""
        own = {n: getattr(type(self), n) for n in self.fields}
        return own | {n: default for n, (_, default) in OPTIONS.items()}


def _plain(members: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.__func__ if isinstance(v, staticmethod) else v for k, v in members.items()}


def _signature(cls: type[Optimizer]) -> inspect.Signature:
    keyword = inspect.Parameter.KEYWORD_ONLY
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("params", either)]
    for name, annotation in cls.fields.items():
        kind = either if name == "lr" else keyword
        parameters.append(inspect.Parameter(name, kind, default=getattr(cls, name), annotation=annotation))
    for name, (annotation, default) in OPTIONS.items():
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=annotation))
    return inspect.Signature(sorted(parameters, key=lambda p: p.kind))


def _check_group(owner: str, fields: Mapping[str, Any], group: Mapping[str, Any], place: str) -> None:
    for name, annotation in fields.items():
        if name in group:
            check(owner, name, group[name], annotation, place)
    for name, (annotation, _) in OPTIONS.items():
        if name in group:
            check(owner, name, group[name], annotation, place)
    if group.get("differentiable"):
        raise HyperparameterError(
            f"{owner}: differentiable=True is refused{place}; a step here is not recorded by autograd"
        )
    if group.get("capturable"):
        raise HyperparameterError(f"{owner}: capturable=True is refused{place}; scalars are made on the host")


def _run(optimizer: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
    loss = None
    if closure is not None:
        with torch.enable_grad():
            loss = closure()
    observers = optimizer._observers
    for observer in observers:
        observer.before(optimizer)
    stepping.step(optimizer, type(optimizer).rule_of)
    for observer in observers:
        observer.after(optimizer)
    return loss


def _outside_graphs(run: Callable[..., Any]) -> Callable[..., Any]:
    """``run``, left out of compiled graphs; where none is being made or run, nothing is asked of the compiler."""
    left_out = torch._disable_dynamo(run)  # type: ignore[attr-defined]

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_dynamo_compiling() or get_eval_frame_callback() is not None:
            return left_out(*arguments)
        return run(*arguments)

    return call


_step = _outside_graphs(_run)
_step_with_hooks = _outside_graphs(torch.optim.Optimizer.profile_hook_step(_run))

__all__ = ["Cap", "Optimizer"]
