"""Every optimizer the library ships, from its own exports: nothing to edit when one is added."""

import torch

import accelerando.optim

SHIPPED = [
    found
    for found in (getattr(accelerando.optim, name) for name in accelerando.optim.__all__)
    if isinstance(found, type) and issubclass(found, torch.optim.Optimizer)
]
