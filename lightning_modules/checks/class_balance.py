"""How many images each class has, and whether the network has an output for each of them, and no more."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from lightning_modules.checks.finding import Finding, Verdict

_MOST_TIMES = 10.0
_MOST_NAMES = 8


def class_balance(labels: Tensor) -> Finding:
    """Compare the largest with the smallest class.

    Args:
        labels: Of the train split, ``(N,)``, integers >= 0, N >= 1.
    """
    counts = Counter(labels.tolist()).values()
    fewest, most = min(counts), max(counts)
    times = most / fewest
    is_ok = times <= _MOST_TIMES
    return Finding(
        check="class balance",
        verdict=Verdict.OK if is_ok else Verdict.WARNING,
        seen=f"{len(counts)} classes in {len(labels):,} train images, of {fewest:,} to "
        f"{most:,} images each ({times:.3g} times)",
        healthy=f"the largest at most {_MOST_TIMES:g} times the smallest",
        advice=""
        if is_ok
        else "monitor a metric that is not ruled by the largest class; weight the loss or sample classes evenly",
        figures={"n_classes": float(len(counts)), "largest_to_smallest": times},
    )


def number_of_classes(labels: Tensor, *, n_outputs: int, are_all: bool) -> Finding:
    """Compare the classes that there are with the outputs of the network.

    Args:
        labels: Of the train and validation split, ``(N,)``, integers, N >= 1.
        n_outputs: Scores that the network gives an image.
        are_all: Whether there are no other labels; else a class that is missing may only not have been seen.
    """
    classes = sorted({*labels.tolist()})
    beyond = [each for each in classes if not 0 <= each < n_outputs]
    missing = sorted({*range(n_outputs)} - {*classes})
    verdict, advice = Verdict.OK, ""
    if beyond:
        verdict, advice = Verdict.FAILED, f"labels must lie in 0 to {n_outputs - 1}: more outputs, or other labels"
    elif missing:
        verdict = Verdict.FAILED if are_all else Verdict.WARNING
        names = ", ".join(map(str, missing[:_MOST_NAMES])) + (", …" if len(missing) > _MOST_NAMES else "")
        advice = f"no image has the label {names}: fewer outputs, or a part of the data is missing"
    return Finding(
        check="number of classes",
        verdict=verdict,
        seen=f"{len(classes)} classes, labels {classes[0]} to {classes[-1]}; {n_outputs} outputs"
        + ("" if are_all else f" (in the first {len(labels):,} images)"),
        healthy="as many outputs as classes, labels from 0 on",
        advice=advice,
        figures={"n_classes": float(len(classes)), "n_outputs": float(n_outputs)},
    )
