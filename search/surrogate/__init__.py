"""A model of learning curves: what a configuration will reach, from short and long trainings of others."""

from __future__ import annotations

from search.surrogate.curve_points import CurvePoints, FeatureLayout
from search.surrogate.hyperparameters import fitted
from search.surrogate.posterior import Posterior

__all__ = ["CurvePoints", "FeatureLayout", "Posterior", "fitted"]
