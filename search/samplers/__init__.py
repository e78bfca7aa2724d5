"""Samplers of zeroin's own for any Optuna study; they need Optuna, NumPy, SciPy and threadpoolctl, no study of ours."""
