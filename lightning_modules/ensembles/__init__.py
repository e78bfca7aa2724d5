"""Several sets of weights that predict together: where they come from, their average, and what it gains."""
