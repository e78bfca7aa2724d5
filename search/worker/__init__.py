"""The worker process: trains trials for a coordinator. Imports torch and Lightning, never Optuna or MLflow."""
