from __future__ import annotations

import json
from dataclasses import replace

from plain_study import study

from search.past import Past
from search.pruner_settings import NoPruning
from search.record_codec import past_from_plain, result_from_plain, result_to_plain
from search.storage.former_definitions import as_of_now
from search.study_file import definition_from_plain, definition_to_plain
from search.study_record import Confirmation


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


def test_a_study_stored_before_it_could_end_early_is_read_and_so_is_a_result_without_intervals() -> None:
    plain = definition_to_plain(study())
    assert definition_from_plain(as_of_now({key: plain[key] for key in plain if key != "end_early"})) == study()
    contender = {"trial_number": 3, "rewards": [0.5, 0.6], "best_epochs": [1, 2], "mean": 0.55}
    result = result_from_plain(
        {
            **{key: [] for key in ("refit_keys", "test_members", "notices")},
            **{key: {} for key in ("test_ensemble", "n_epochs")},
            **dict.fromkeys(("refit_epochs", "n_test_samples", "n_test_readings", "time_ms"), 0),
            "best_trial_number": 3,
            "confirmations": [{**contender, "eliminated_after": None}],
            "seconds": 1.0,
        }
    )
    assert result.confirmations[0].rewards == (0.5, 0.6) and result.confirmations[0].interval is None
    with_one = Confirmation(**{**contender, "eliminated_after": 1, "interval": (0.4, 0.7)})
    assert result_from_plain(json.loads(json.dumps(result_to_plain(replace(result, confirmations=(with_one,)))))) == (
        replace(result, confirmations=(replace(with_one, rewards=(0.5, 0.6), best_epochs=(1, 2)),))
    )


def test_what_is_stored_today_is_left_alone() -> None:
    plain = definition_to_plain(study())
    assert as_of_now(plain) == plain
