"""Strategies × learning rates × seeds on one task, with statistics that hold at few seeds and a report."""
