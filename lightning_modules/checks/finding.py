"""What a check found: figures, the tolerance, a verdict, and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended, from good to bad; what could not be checked says nothing of the module."""

    OK = "ok"
    UNCHECKED = "could not be checked"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Outcome of one check.

    Attributes:
        check: Name of the check (``first loss``).
        verdict: How it ended.
        seen: What was seen, in words with figures; of what could not be checked, why.
        healthy: What would be healthy, with the tolerance.
        advice: What to try, empty if all is well.
        figures: The figures behind it, by name; may hold NaN and infinities.
    """

    check: str
    verdict: Verdict
    seen: str
    healthy: str = ""
    advice: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


class CannotBeCheckedError(Exception):
    """The module or the data are of a kind that a check does not know; the text says which."""
