"""The optimizers."""

from accelerando.optim.adamw import AdamW

__all__ = ["AdamW"]
