"""How many trials share a device (``trials_per_device: auto``), by what one of the largest takes of its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.coordinator.preflight import try_out
from search.coordinator.workforce import Workforce
from search.messages import InspectionResult
from search.search_space import Choices, Dimension
from search.study_definition import StudyDefinition

_USABLE_SHARE = 0.9
_MOST_TRIALS = 8
_GIB = float(1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How many trials share a device, >= 1, and why, as a sentence."""

    n_trials: int
    reason: str


def pack_devices(
    definition: StudyDefinition,
    workforce: Workforce,
    inspection: InspectionResult,
    *,
    notify: Callable[[str], None],
) -> Packing:
    """Try out the largest configuration and say how many of it a device takes.

    Args:
        definition: The study.
        workforce: With one worker on each device.
        inspection: Of the middle of the search space.
        notify: Told of workers that were lost over it.

    Raises:
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stops the study meanwhile.
    """
    middle = definition.space.from_units(dict.fromkeys(definition.space.names, 0.5))
    largest = definition.space.from_units({each.name: _largest(each) for each in definition.space})
    what, result = "a trial", inspection
    if largest != middle:
        doing = "the largest configuration was tried out"
        tried = try_out(definition, largest, workforce, doing=doing, notify=notify)
        if tried.out_of_memory:
            reason = f"one trial on each device: the largest configuration does not fit beside another ({tried.error})."
            return Packing(n_trials=1, reason=reason)
        if not tried.error:
            what, result = "the largest trial", tried
    return packing(result, what=what, n_devices=workforce.n_workers)


def packing(memory: InspectionResult, *, what: str, n_devices: int) -> Packing:
    """Return how many trials fit on each device: as many as 90 % of its free memory takes, at most 8, and a core each.

    Args:
        memory: What a batch of one took of the device's memory.
        what: Name of that one.
        n_devices: Devices that the machine's cores are divided among, >= 1.
    """
    if not memory.free_bytes or not memory.trial_bytes:
        return Packing(n_trials=1, reason="one trial on each device, since what it takes of the memory is not known.")
    # The worker that measured it holds its own share already.
    room = _USABLE_SHARE * memory.free_bytes + memory.worker_bytes
    need = memory.trial_bytes + memory.worker_bytes
    by_memory = int(room // need)
    by_cores = memory.n_cores // n_devices if memory.n_cores else _MOST_TRIALS
    n_trials = max(1, min(by_memory, by_cores, _MOST_TRIALS))
    if by_memory <= min(by_cores, _MOST_TRIALS):
        limit = "by its memory"
    else:
        limit = f"by {memory.n_cores} CPU cores" if by_cores < _MOST_TRIALS else "to that at most"
    trials = "1 trial" if n_trials == 1 else f"{n_trials} trials"
    taken = f"{what} takes {need / _GIB:.2f} GiB of {(memory.free_bytes + memory.worker_bytes) / _GIB:.2f} GiB"
    return Packing(n_trials=n_trials, reason=f"{trials} on each device, limited {limit}: {taken}.")


def _largest(dimension: Dimension) -> float:
    """Unit coordinate of what is likely to take most memory: sizes are integers, or choices among them."""
    if dimension.is_integer:
        return 1.0
    if isinstance(dimension.range, Choices):
        values = dimension.range.values
        sizes = [each for each in values if isinstance(each, int) and not isinstance(each, bool)]
        if len(sizes) == len(values):
            return (values.index(max(sizes)) + 0.5) / len(values)
    return 0.5
