"""Rules of a third party, which use what the shipped ones do not."""

from accelerando.rule import NonNegative, Optimizer, abs, exp, log, maximum, minimum, sign, sqrt, where


class Everything(Optimizer):
    """Sums over group and all, memory, a buffer that starts at the parameter, carried and old values."""

    lr: NonNegative = 0.1
    start: NonNegative = 2.0
    buffers = {"origin": "param", "mean": "zeros"}
    sums = {"gg": "group", "pp": "all"}
    memory = {"scale": "start", "count": 0.0}

    @staticmethod
    def scalars(t, lr):
        late = lr / t
        return late

    @staticmethod
    def direction(p, g, origin, mean, scale):
        mean = 0.5 * mean + 0.5 * g
        gg = g * g
        pp = p * p
        return scale * mean, origin, mean, gg, pp

    @staticmethod
    def decide(gg, pp, scale, count):
        count = count + 1
        scale = where(gg > pp, 0.5 * scale, scale)
        size = 1 / (1 + sqrt(gg))
        return size, scale, count

    @staticmethod
    def apply(p, u, origin, old_mean, late, size):
        return p - late * size * u + 0.01 * (origin - p) + 0.001 * old_mean


class Layerwise(Optimizer):
    """Memory per tensor, which steers the elementwise functions too."""

    lr: NonNegative = 0.5
    sums = {"gg": "tensor"}
    memory = {"rate": "lr"}

    @staticmethod
    def direction(g, rate):
        gg = g * g
        return g / (1 + rate), gg

    @staticmethod
    def decide(gg, rate):
        rate = rate / (1 + 0.01 * gg)
        return rate

    @staticmethod
    def apply(p, u, rate):
        return p - rate * u


class Later(Optimizer):
    """A decision over everything for the next step."""

    lr: NonNegative = 0.01
    buffers = ("exp_avg",)
    sums = {"gu": "all", "size": "all"}
    memory = {"rate": "lr"}
    when = "next"

    @staticmethod
    def direction(g, exp_avg):
        gu = g * exp_avg
        size = abs(gu)
        exp_avg = 0.9 * exp_avg + 0.1 * g
        return exp_avg, exp_avg, gu, size

    @staticmethod
    def decide(gu, size, rate):
        rate = where(gu > 0.1 * size, 1.1 * rate, rate)
        return rate

    @staticmethod
    def apply(p, u, rate):
        return p - rate * u


class Averaged(Optimizer):
    """A decision without sums, which steers this step."""

    lr: NonNegative = 0.1
    buffers = {"z": "param"}
    memory = {"weights": 0.0}

    @staticmethod
    def decide(lr, weights):
        weights = weights + lr * lr
        share = lr * lr / weights
        return share, weights

    @staticmethod
    def direction(p, g, z, lr, share):
        z = z - lr * g
        return share * (p - z), z

    @staticmethod
    def apply(p, u):
        return p - u


class Operations(Optimizer):
    """Every operation of the grammar."""

    lr: NonNegative = 0.01
    buffers = ("trace",)

    @staticmethod
    def direction(p, g, trace):
        low = minimum(g, 0.5)
        high = maximum(-g, -(0.5 + p))
        small = (abs(g) < 0.3) & (p != 0) | (g >= 2)
        trace = 0.9 * trace + where(small, sign(g), low / (1 + exp(high)))
        return trace + log(1 + g * g) ** 2, trace


class Scopes(Optimizer):
    """Sums over all three scopes in one decision, for each tensor."""

    lr: NonNegative = 0.1
    buffers = {"origin": "param", "mean": "zeros"}
    sums = {"gg": "group", "pp": "all", "gm": "tensor"}
    memory = {"scale": 1.0}

    @staticmethod
    def scalars(t, lr):
        late = lr / (1 + log(t)) ** 0.5
        return late

    @staticmethod
    def direction(p, g, origin, mean, scale):
        mean = 0.5 * mean + 0.5 * g
        gg = g * g
        pp = p * p
        gm = g * mean
        u = scale * exp(-mean * mean) + log(1 + gg)
        return u, origin, mean, gg, pp, gm

    @staticmethod
    def decide(gg, pp, gm, scale, late):
        scale = scale * (1 + late * gm / (1 + sqrt(gg * pp)))
        size = 1 / (1 + sqrt(gg))
        return size, scale

    @staticmethod
    def apply(p, u, origin, old_mean, late, size):
        return p - late * size * u + 0.01 * (origin - p) + 0.001 * old_mean


ELEMENTWISE = (Averaged, Operations)
WITH_SUMS = (Everything, Layerwise, Later)
ACROSS_SCOPES = (Scopes,)
