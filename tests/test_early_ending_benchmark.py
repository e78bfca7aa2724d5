from __future__ import annotations

from early_ending import Trained, ending, study

from search.study_definition import EndEarly
from search.study_record import Outlook

CLOSED = Outlook(expected_gain=0.001, possible_gain=0.002, noise=0.01)
OPEN = Outlook(expected_gain=0.02, possible_gain=0.2, noise=0.01)


def trained(outlooks: list[Outlook]) -> list[Trained]:
    return [Trained(n_spent=4 * n, regret=1.0 / n, outlook=each) for n, each in enumerate(outlooks, start=1)]


def test_a_study_ends_after_the_first_row_of_closed_outlooks_beyond_the_minimum() -> None:
    settings = EndEarly(patience_trials=2, min_trials=11)
    found = ending(trained([CLOSED, CLOSED, OPEN, CLOSED, CLOSED, OPEN, OPEN]), settings)
    assert (found.n_trials, found.n_epochs, found.regrets) == (13, (20, 28), (0.2, 1.0 / 7.0))
    assert ending(trained([CLOSED] * 7), settings).n_trials == 12  # nothing is asked before the eleventh


def test_one_that_never_ends_early_is_whole() -> None:
    found = ending(trained([OPEN, CLOSED, OPEN, CLOSED]), EndEarly(patience_trials=2, min_trials=1))
    assert (found.n_trials, found.n_epochs) == (12, (16, 16))


def test_a_small_study_counts_its_epochs_and_its_best_gets_better() -> None:
    steps = study(noise=0.0, seed=0, n_full=8, n_epochs=4, sampler="random", probability=0.9, min_trials=15)
    assert [each.n_spent for each in steps] == [12, 16, 20, 24, 28, 32, 36, 40]
    assert [each.outlook is None for each in steps] == [True] * 6 + [False] * 2
    regrets = [each.regret for each in steps]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[-1] < regrets[0]
    assert all(0.0 <= regret < 0.851 for regret in regrets)
