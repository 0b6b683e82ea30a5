"""Strategies × learning rates × seeds on a task, crash-safe, with honest statistics and a report."""
