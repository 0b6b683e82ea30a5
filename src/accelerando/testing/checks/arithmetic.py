"""Two ways of running one method must be one method."""

import torch

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, inapplicable, verdict
from accelerando.testing.subject import Subject, finite, gap, gradients, starts


@check("I08", "foreach = one by one")
def foreach(subject: Subject) -> Outcome:
    """Both ways give one trajectory, and where eps = 0 meets a zero gradient both stay finite or neither."""
    if "foreach" not in subject.signature or "foreach" in subject.options:
        return inapplicable("has no option foreach")
    one, steps = starts(torch.float64), gradients(12, torch.float64)
    distance = gap(subject.run(one, steps, foreach=True), subject.run(one, steps, foreach=False), one)
    if distance > 1e-9:
        return verdict(False, "", f"the two ways differ by {distance:.2g} of the way", gap=distance)
    if not isinstance(subject.group.get("eps"), float) or "eps" in subject.options:
        return verdict(True, "the two ways agree", "", gap=distance)
    still = [[torch.zeros_like(g) for g in steps[0]]]
    try:
        many = finite(subject.run(one, still, foreach=True, eps=0.0))
        single = finite(subject.run(one, still, foreach=False, eps=0.0))
    except ValueError:
        return verdict(True, "the two ways agree; eps = 0 is refused", "", gap=distance)
    return verdict(
        many == single,
        "the two ways agree",
        f"with eps = 0 and a zero gradient foreach {'stays finite' if many else 'gives NaN'}, "
        f"one by one {'stays finite' if single else 'gives NaN'}",
        gap=distance,
    )
