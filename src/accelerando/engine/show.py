"""The generated source of a rule, to be read."""

from accelerando.engine import eager, host
from accelerando.engine.anatomy import Rule


def source(rule: Rule) -> str:
    """What runs for ``rule``: the scalar table's row and the decision on the host, the rest on tensors."""
    texts = [host.row_source(rule)]
    texts.append(eager.source(rule.direction))
    if rule.decide is not None:
        texts.append(host.decide_source(rule))
    texts.append(eager.source(rule.apply))
    return "\n".join(texts)
