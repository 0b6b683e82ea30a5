"""The generated source of a rule, to be read."""

from accelerando.engine import eager, host
from accelerando.engine.anatomy import Rule
from accelerando.engine.cpu import source as cpu
from accelerando.engine.cuda import source as cuda
from accelerando.engine.cuda.layout import Stores
from accelerando.engine.passes import passes

BACKENDS = ("eager", "cpu", "cuda")


def source(rule: Rule, backend: str) -> str:
    """What runs for ``rule``: the scalar table's row and the decision on the host, the rest as the backend has it.

    On CUDA nothing is left to the host.
    """
    if backend == "cuda":
        return cuda.source(rule, passes(rule), Stores())
    on_host = [host.row_source(rule)]
    if rule.decide is not None:
        on_host.append(host.decide_source(rule))
    return "\n".join([*on_host, *_elementwise(rule, backend)])


def _elementwise(rule: Rule, backend: str) -> list[str]:
    if backend == "eager":
        return [eager.source(rule.direction), eager.source(rule.apply)]
    settles = rule.settles_per_tensor
    return [cpu.text(cpu.Kernel(rule, cpu.Scheme("f32", "f32", "f32"), settles))]
