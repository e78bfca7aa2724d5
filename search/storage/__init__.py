"""The Optuna border: studies and trials in an ordinary Optuna storage that every Optuna tool can read.

One Optuna study per zeroin study. Every trial is recorded with the hard limits of its dimensions as distributions,
which never change; a trial is created whole, in one write, so that a crash leaves either all of its hyperparameters or
nothing. The value of a trial is its reward, its intermediate values are the monitored metric by epoch; with further
objectives, it has their values too. What bounds are missed by is recorded by Optuna's own interface for constraints.
"""

from search.storage.distributions import distributions as distributions
from search.storage.past_trials import past_trials as past_trials
from search.storage.stored_study import StoredStudy as StoredStudy
from search.storage.stored_study import trial_key as trial_key
from search.storage.study_store import StudyStore as StudyStore
