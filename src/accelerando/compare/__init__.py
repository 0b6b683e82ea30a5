"""Strategies × learning rates × seeds on a task, crash-safe, with honest statistics and a report."""

from accelerando.compare.task import Task

__all__ = ["Task"]
