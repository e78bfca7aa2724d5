"""When a study ends before all its trials, because further ones cannot pay.

After each finished trial of the last stage there is an outlook. The search ends when several in a row find that
neither the best next trial is expected to gain as much as would count, nor, with the asked probability, is there any
configuration in the ranges that would: what counts is more than the noise between seeds, or a gain that the user
states. An earlier stage never ends the study: what its short trials promise, only longer ones can keep.
"""

from __future__ import annotations

from collections.abc import Sequence

from search.study_definition import EndEarly
from search.study_record import Outlook


def cannot_pay(outlook: Outlook, settings: EndEarly) -> bool:
    """Whether further trials gain too little, by one outlook."""
    least = least_gain(outlook, settings)
    return outlook.expected_gain < least and outlook.possible_gain < least


def least_gain(outlook: Outlook, settings: EndEarly) -> float:
    """Return the gain that would count, in the reward's unit."""
    return outlook.noise if settings.gain_below == "noise" else settings.gain_below


def end_reason(outlooks: Sequence[Outlook | None], settings: EndEarly, *, n_left: int | None) -> str:
    """Return why the search ends, in words and figures; empty if it goes on.

    Args:
        outlooks: After each finished trial of the last stage, in the order in which they finished, from the one on
            with which the study had `min_trials`; None where there was nothing to compare with.
        settings: When it ends.
        n_left: Trials that would be left out, None if nothing counts them; the search goes on if there are none.
    """
    latest = outlooks[-settings.patience_trials :]
    known = [each for each in latest if each is not None]
    if n_left == 0 or len(known) < settings.patience_trials or not all(cannot_pay(each, settings) for each in known):
        return ""
    last = known[-1]
    least = f"{least_gain(last, settings):.2g}"
    bar = f"the noise between seeds, {least}" if settings.gain_below == "noise" else f"{least}, the least that counts"
    left_out = "what the budget has left is not spent" if n_left is None else f"{n_left} planned trials are left out"
    times = "one finished trial" if len(known) == 1 else f"{len(known)} finished trials in a row"
    return (
        f"after {times} there was less to gain than {bar}: at the end the best next one was expected to gain "
        f"{last.expected_gain:.2g}, and with a probability of {100.0 * settings.probability:.3g} % nothing in the "
        f"ranges gains more than {last.possible_gain:.2g}; {left_out}"
    )
