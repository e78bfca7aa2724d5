"""Samplers of zeroin's own for any Optuna study; they need Optuna, NumPy and SciPy, and nothing else of zeroin."""
