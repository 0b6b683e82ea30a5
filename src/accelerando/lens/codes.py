"""The findings of the lens, by stable code: what each means and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        code: stable; a meaning is never given to another code.
        title: in a few words.
        seen: what the lens saw, exactly.
        means: why it matters.
        advice: one sentence.
    """

    code: str
    title: str
    seen: str
    means: str
    advice: str


CODES: dict[str, Code] = {
    code.code: code
    for code in (
        Code(
            "LR101",
            "The rate rose by itself",
            "While the nominal rate stayed the same, gain (displacement per gradient) rose at least "
            "twofold, and a falling gradient norm does not account for it.",
            "The optimizer takes longer steps than before though nobody asked it to. The cause is the "
            "factor of log(gain) that grew most: the second moment forgetting large early gradients, a "
            "growing trust ratio, a distance estimate, gradients that agree, or, for a method that raises "
            "its own rate, the movement it is in: probe or rise.",
            "Harmless if the loss falls, and meant if the method raises its own rate; if the loss does not "
            "fall, lower lr or bound the cause named here.",
        ),
        Code(
            "LR102",
            "A cosine schedule went past its end",
            "The nominal rate fell along half a cosine and is now rising again along the same curve.",
            "CosineAnnealingLR is periodic: after T_max steps the rate climbs back to where it began. "
            "T_max is usually counted in epochs where it should be in steps, or the run was made longer.",
            "Set T_max to the number of times the scheduler is stepped, or stop stepping it at the end.",
        ),
        Code(
            "LR103",
            "beta1 was overwritten",
            "betas[0] (or momentum) changed from one step to a later one.",
            "CyclicLR and OneCycleLR cycle momentum unless told not to, and put their own values, 0.8 to "
            "0.9 or 0.85 to 0.95, where yours was. Averaging over fewer gradients also makes steps "
            "longer.",
            "Pass cycle_momentum=False, or set base_momentum and max_momentum to what you want.",
        ),
        Code(
            "LR104",
            "The distance estimate does not start",
            "d still has its initial value d0.",
            "Methods that estimate the distance to the solution (Prodigy, D-Adaptation) take steps of "
            "length lr·d. Until d grows they stand still. In bfloat16 a step of d0 = 1e-6 is lost in "
            "rounding, so the displacement that d is estimated from stays zero.",
            "Keep float32 weights, or raise d0 (1e-4 for weights near one), and leave lr at 1.",
        ),
        Code(
            "LR105",
            "A tensor does not move",
            "A parameter that wants a gradient was not moved by any of the sampled steps.",
            "It has no gradient (unused, or detached), its gradient is exactly zero, or its step is "
            "smaller than the spacing of its numbers and rounds away.",
            "Look where its gradient should come from; if the step rounds away, use float32 weights or a "
            "larger lr.",
        ),
        Code(
            "LR106",
            "The first step was a peak",
            "The first step was several times longer than those soon after, through the method and not "
            "through the gradients.",
            "A method without (or with half a) bias correction, or one that divides by a second moment of"
            " one sample, can throw away a good initialization in one step.",
            "Warm the rate up, or switch the method's bias correction on.",
        ),
        Code(
            "LR107",
            "Decay is larger than the gradient step",
            "Weight decay moved the weights farther than the gradient did, in five samples in a row.",
            "The weights are being shrunk, not trained. It happens when lr·weight_decay is large against "
            "the relative update, and with decay through the gradient where gradients are small.",
            "Lower weight_decay for this group.",
        ),
        Code(
            "LR108",
            "The step does not have the rate the group asks for",
            "The step goes where this method's formula says, but by another factor than group['lr'], in "
            "five samples in a row.",
            "Something between the group and the weights rescales the step: an attribute that is read "
            "instead of the group, a wrapper, a hook, or a patched step. A schedule may have less effect "
            "than it shows.",
            "Look for what else multiplies the step, and compare lens.table() with your schedule.",
        ),
        Code(
            "LR109",
            "A gradient was not finite",
            "Some elements of a gradient were infinite or not a number when the step was made.",
            "Without a gradient scaler or a check, one such step ends in the weights.",
            "Clip or skip such steps; look at the batch and at the loss of this step.",
        ),
    )
}
