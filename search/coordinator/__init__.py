"""The coordinator: the only part that talks to Optuna and MLflow; it never imports torch."""
