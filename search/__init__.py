"""zeroin: coarse-to-fine hyperparameter search for CNNs."""
