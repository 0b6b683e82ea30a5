"""ScheduleFreeAdamW: an average of the weights instead of a schedule of the rate."""

from typing import ClassVar, Literal

from accelerando.rule import Averaging, Betas, NonNegative, Optimizer, Positive, maximum, minimum, sqrt, where


class ScheduleFreeAdamW(Averaging, Optimizer):
    r"""AdamW at a constant rate, whose average of all weights so far takes the place of a decaying rate.

    Source: Defazio et al. (2024), arXiv:2405.15682, Algorithm 1; the weights of the average are those of the authors'
    package, and so is the bias correction, which stands in v, where their version called the paper's multiplies γ by
    :math:`\sqrt{1-β_2^t}`. Deviations: the average x is kept, not worked out from y, so that ``betas[0]`` may be 0 or
    change, and weights in bfloat16 do not stop it; steps are counted per parameter, the average of one that comes late
    included.

    Update: :math:`v ← β_2 v + (1-β_2) g^2`, :math:`z ← z - γ_t (g/(\sqrt{\hat v} + ε) + λy)`,
    :math:`x ← (1-c_t)x + c_t z`, :math:`y ← (1-β_1)z + β_1 x` with :math:`γ_t = η\min(1, t/T_{warm})`,
    :math:`c_t = w_t/\sum_{i≤t} w_i`, :math:`w_t = t^r (\max_{i≤t} γ_i)^{p}`.

    Gradients are taken at y and the model is judged at x. The parameters hold y after ``train()``, and at first; x
    after ``eval()``. Both may be called at any time and twice; coming back gives y to the bit, whatever was done to
    the parameters in between. `step` after ``eval()`` is an error. An optimizer cannot see how a model is evaluated:
    ``optimizer.watch(model)`` warns, once, when the model runs in the other mode. A checkpoint is right in either mode,
    together with the model's weights of the same moment.

    Args:
        params: tensors, groups, or named tensors.
        lr: the rate η ≥ 0, constant; about as large as the peak of a schedule's, or larger.
        betas: β₁, how far y lies from z towards x, and the decay β₂, in [0, 1).
        eps: ε > 0, in gradient units.
        weight_decay: λ ≥ 0, decoupled, taken at y.
        warmup_steps: the steps T over which the rate rises linearly, ≥ 0, for each parameter from its first gradient.
        r: the average's weights grow with this power of t, ≥ 0; 0 weighs all steps alike.
        weight_lr_power: the average's weights are the largest rate so far to this power p, ≥ 0.

    State: ``step``; ``exp_avg_sq`` (v), zero at first; ``z`` and ``x``, which start as the parameter; ``weight_sum``
    and ``lr_max``, numbers of each parameter. In the groups: ``train_mode``. After ``eval()``, ``in_training`` (y).

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        StateError: `step` after ``eval()``.
        UnsupportedTensorError: a parameter is complex, or it or its gradient sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ScheduleFreeAdamW([p], lr=1.0)
        >>> for _ in range(3):
        ...     p.grad = torch.ones(1)
        ...     optimizer.step()  # z goes to -1, -2, -3
        >>> optimizer.eval()
        >>> p.data  # their mean
        tensor([-2.])
    """

    lr: NonNegative = 2.5e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    warmup_steps: NonNegative = 0
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0

    buffers: ClassVar = {"exp_avg_sq": "zeros", "z": "param", "x": "param"}
    sums: ClassVar = {"size": "tensor"}  # asked for by nothing: it is what makes the memory each tensor's own
    memory: ClassVar = {"weight_sum": 0.0, "lr_max": 0.0}
    when: ClassVar[Literal["now", "next"]] = "next"
    averages: ClassVar = "x"

    @staticmethod
    def scalars(t, lr, beta2, warmup_steps, r, weight_lr_power, weight_sum, lr_max):
        rest2 = 1 - beta2
        bias2 = 1 - beta2**t
        rate = lr * minimum(1, t / warmup_steps)
        peak = maximum(lr_max, rate)
        weight = t**r * peak**weight_lr_power
        total = weight_sum + weight
        share = where(total > 0, weight / total, 0)
        return rest2, bias2, rate, peak, total, share

    @staticmethod
    def direction(p, g, exp_avg_sq, z, x, beta2, rest2, bias2, eps, weight_decay, rate, share):
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        u = g / (sqrt(exp_avg_sq / bias2) + eps) + weight_decay * p
        z = z - rate * u
        x = x + share * (z - x)
        size = where(g == g, 1, 1)
        return u, exp_avg_sq, z, x, size

    @staticmethod
    def decide(total, peak):
        weight_sum = total
        lr_max = peak
        return weight_sum, lr_max

    @staticmethod
    def apply(z, x, beta1):
        return z + beta1 * (x - z)
