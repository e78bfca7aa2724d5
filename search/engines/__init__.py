"""Engines place workers and carry messages; nothing else."""
