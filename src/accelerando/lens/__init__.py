"""What the learning rate really does: hooks that measure any `torch.optim.Optimizer`, and a recorder."""

from accelerando.lens.events import Event
from accelerando.lens.measure import Measure, Reading, measure, rise_of
from accelerando.lens.recorder import Lens, Rise
from accelerando.lens.store import Recording, read

__all__ = ["Event", "Lens", "Measure", "Reading", "Recording", "Rise", "measure", "read", "rise_of"]
