"""What every pruning rule is."""

from __future__ import annotations

from typing import Protocol

from search.trial import TrialRecord


class Pruner(Protocol):
    """Compares running trials with others; used by one thread.

    `prune_reason` is a pure function of the record and of the set of what was learned. It costs at most as much as the
    trial has epochs and the logarithm of the number of trials; of the rule `forecast`, what asking its model costs.
    """

    def learn(self, record: TrialRecord) -> None:
        """Take note of a trial; a later snapshot replaces an earlier one, and the same one again changes nothing.

        Args:
            record: A search trial's snapshot, whatever its state; a rule takes of it what it compares with. A trial
                that continues another one is learned after that.
        """

    def prune_reason(self, record: TrialRecord) -> str:
        """Return why the trial should be stopped after its last epoch, or an empty string if it should go on.

        Args:
            record: A running search trial. In its last epoch there is nothing to prune; a value that is not finite is
                for others to judge.
        """


class NeverPrunes:
    """The rule `none`."""

    def learn(self, record: TrialRecord) -> None:
        """Ignore it."""

    def prune_reason(self, record: TrialRecord) -> str:
        """Let every trial go on."""
        return ""
