"""Pruning: stopping trials that are worse than their peers at the same epoch; one rule, or one family, a file.

Whatever the rule, only trials of the same schedule horizon are compared, and only at the same epoch; a verdict depends
on the trial and on what the others have logged, never on the order in which that was learned; and it says why.
"""

from __future__ import annotations

from search.pruning.names import named_pruner
from search.pruning.pruner import Pruner

__all__ = ["Pruner", "named_pruner"]
