"""New ranges for the next stage from the finished trials of the stages before, with a reason for each parameter.

`narrow` is a pure function of the trials' comparable rewards: their order matters, their size does not. So is
`crowded_edges`, which judges the last stage's ranges when the search has ended.
"""

from __future__ import annotations

from search.narrowing.last_verdict import crowded_edges
from search.narrowing.rules import RULE_NAMES, considered, declared, narrow, trials_needed

__all__ = ["RULE_NAMES", "considered", "crowded_edges", "declared", "narrow", "trials_needed"]
