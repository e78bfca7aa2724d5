from __future__ import annotations

from plain_study import study

from search.past import Past
from search.pruner_settings import NoPruning
from search.record_codec import past_from_plain
from search.storage.former_definitions import as_of_now
from search.study_file import definition_from_plain, definition_to_plain


def test_a_study_stored_without_pruning_and_with_the_median_rules_keys_is_read() -> None:
    plain = definition_to_plain(study())
    stored = {**plain, "pruner": {"name": "none", "n_startup_trials": 5, "n_warmup_epochs": 1}}
    assert definition_from_plain(as_of_now(stored)).pruner == NoPruning()


def test_a_study_stored_before_there_were_priors_and_warm_starts_is_read() -> None:
    plain = definition_to_plain(study())
    stored = {key: value for key, value in plain.items() if key != "warm_start"}
    assert definition_from_plain(as_of_now(stored)) == study()
    assert past_from_plain({}) == Past()


def test_a_study_stored_before_there_was_a_budget_in_epochs_is_read() -> None:
    bounded = study(budget={"hours": 2.0, "n_trials": 9})
    plain = definition_to_plain(bounded)
    stored = {**plain, "budget": {key: value for key, value in plain["budget"].items() if key != "epochs"}}
    assert stored["budget"] == {"hours": 2.0, "device_hours": None, "n_trials": 9}
    assert definition_from_plain(as_of_now(stored)) == bounded


def test_what_is_stored_today_is_left_alone() -> None:
    plain = definition_to_plain(study())
    assert as_of_now(plain) == plain
