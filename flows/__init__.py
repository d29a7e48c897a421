"""Flows: the order of the tasks, nothing else."""
