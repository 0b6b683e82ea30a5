"""What the learning rate really does: hooks that measure any `torch.optim.Optimizer`, and a recorder."""

from accelerando.lens.measure import Measure, Reading, measure, rise_of

__all__ = ["Measure", "Reading", "measure", "rise_of"]
