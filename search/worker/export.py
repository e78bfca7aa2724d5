"""Turn a module into a program that runs without its class."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

_TOLERANCE = 1e-5


class ExportError(Exception):
    """The module cannot be exported; the message says why in a line."""


def export(module: nn.Module, images: Tensor, path: Path) -> None:
    """Write the module, in the mode in which it is, as a program for batches of any size.

    Args:
        module: On the CPU, from a tensor ``(N, ...)`` to a tensor ``(N, ...)``, one for each row.
        images: What it may be given, ``(2, ...)``.
        path: File to write.

    Raises:
        ExportError: If torch cannot export it, or the program gives something else than the module.

    Source:
        https://docs.pytorch.org/docs/stable/export.html
    """
    dynamic = ({0: torch.export.Dim("n_images", min=1)},)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # what torch says of the user's code while it traces it
            program = torch.export.export(module, (images,), dynamic_shapes=dynamic, strict=False)
            exported = program.module()
            for batch in (images[:1], images, torch.cat([images, images[:1]])):
                require_same(drawn_alike(module, batch), drawn_alike(exported, batch))
            torch.export.save(program, path)
    except ExportError:
        raise
    except Exception as error:  # tracing runs the user's code in ways that it was not written for
        line = next((line for line in str(error).splitlines() if line.strip()), "").strip()
        raise ExportError(f"{type(error).__name__}: {line}") from error


def drawn_alike(run: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Run a module that may draw random numbers, the same ones every time."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return run(batch.clone())


def require_same(ours: Tensor, theirs: Tensor) -> None:
    """Check that the values are the same but for rounding.

    Raises:
        ExportError: If they are not.
    """
    if not torch.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        raise ExportError("the exported program gives other values than the module")
