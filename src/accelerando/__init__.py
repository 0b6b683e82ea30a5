"""Accelerando: what is the learning rate really doing, and can it raise itself?"""

from accelerando.optim import AdamW

__version__ = "0.1.0"
__all__ = ["AdamW", "__version__"]
