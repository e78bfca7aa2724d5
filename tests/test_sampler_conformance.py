"""Optuna's own conformance tests of samplers, on those of our own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from search.samplers.mixed import MixedSampler
from search.samplers.policy import PolicySampler
from search.samplers.portfolio import PortfolioSampler
from search.samplers.staged_gp import StagedGPSampler


@pytest.mark.slow
class TestPolicySampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: PolicySampler(seed=0, n_startup_trials=1)


@pytest.mark.slow
class TestStagedGPSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: StagedGPSampler(seed=0, n_startup_trials=1)


@pytest.mark.slow
class TestMixedSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MixedSampler(seed=0, n_startup_trials=1)


@pytest.mark.slow
class TestPortfolioSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: PortfolioSampler(seed=0, n_startup_trials=1)
