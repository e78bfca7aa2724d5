"""Seeds that follow from what they are for, so that nothing random depends on the order of events."""

from __future__ import annotations

import hashlib
import json


def derived_seed(*parts: int | str) -> int:
    """Return a seed in ``[0, 2**31)`` that depends on every part, its type and its place, and on nothing else.

    Args:
        parts: What the seed is for: ``derived_seed(study_seed, "trial", trial_number)``.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 2**31
