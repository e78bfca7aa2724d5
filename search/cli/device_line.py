"""Where the devices' time went, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from search.device_use import DeviceUse

_WORDS = {
    DeviceUse.TRAINING: "training",
    DeviceUse.STAGE_BORDER: "lost at stage borders",
    DeviceUse.BETWEEN_TRIALS: "lost between trials",
    DeviceUse.STARTING: "starting up",
    DeviceUse.ENDING: "at the end, with fewer runs than devices",
}


def device_line(seconds: Mapping[str, float]) -> str:
    """Return the shares of the workers' time by use; empty if nothing is known of it.

    Args:
        seconds: Worker seconds by `DeviceUse`.
    """
    total = sum(seconds.values())
    if not total > 0.0:
        return ""
    return ", ".join(f"{seconds.get(use, 0.0) / total:.1%}".replace("%", f" % {word}") for use, word in _WORDS.items())
