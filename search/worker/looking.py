"""Show what a refitted member has learnt to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

from lightning_modules.inside.feature_maps import feature_maps
from lightning_modules.inside.filters import first_layer_filters
from lightning_modules.inside.saliency import saliency
from search.messages import LookAssignment, Views
from search.worker.assembly import make_data
from search.worker.members import left_by_refits
from search.worker.process_group import leave_process_group, this_group
from search.worker.scratch_directory import scratch_directory
from search.worker.trainer_settings import quiet_libraries
from search.worker.user_error import describe
from search.worker.validation_batch import first_validation_batch

_N_IMAGES = 8
_MOST_FILTERS = 64
_MOST_MAPS = 32
_MOST_PIXELS = 64  # along an axis; larger pictures are made smaller, since they travel as text
_N_DIGITS = 4


def look_inside(assignment: LookAssignment, *, callbacks: Sequence[Callback] = ()) -> Views:
    """Look at the network with a few validation images; never raises.

    Args:
        assignment: The member.
        callbacks: What watches the batch that is looked at.
    """
    try:
        with quiet_libraries(), scratch_directory() as directory:
            return _seen(assignment, directory, callbacks)
    except BaseException as raised:
        error, trace = describe(raised)
        return Views(error=error, traceback=trace)


def _seen(assignment: LookAssignment, directory: Path, callbacks: Sequence[Callback]) -> Views:
    leave_process_group()
    if this_group().rank != 0:
        return Views()
    data = make_data(assignment.assembly)
    left = left_by_refits(assignment, directory)
    (model,) = left.modules
    batch = first_validation_batch(left, assignment.assembly, data, directory=directory, callbacks=callbacks)
    filters = first_layer_filters(model)
    shown = () if filters is None else _plain(filters[:_MOST_FILTERS])
    images, labels = _images_of(batch)
    if images is None or labels is None:
        return Views(filters=shown)
    # Lightning validates in inference mode, whose tensors know no gradients; their copies do.
    return Views(filters=shown, **_views(model.float().cpu(), images.float().cpu().clone(), labels.cpu().clone()))


def _images_of(batch: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return a few images ``(n, C, H, W)`` with their classes ``(n,)``, None if the batch is none of such."""
    if not (isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch)):
        return None, None
    images, labels = batch[0][:_N_IMAGES], batch[1][:_N_IMAGES]
    if images.dim() != 4 or labels.dim() != 1 or labels.is_floating_point():
        return None, None
    return images, labels


def _views(model: LightningModule, images: Tensor, labels: Tensor) -> Mapping[str, Any]:
    model.eval()
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
    maps = feature_maps(model, images[:1])
    return {
        "maps": {name: _plain(_smaller(each)[0, :_MOST_MAPS]) for name, each in maps.items()},
        "images": _plain(_smaller(images)),
        "saliency": _plain(_smaller(saliency(model, images, labels)[:, None])[:, 0]),
        "labels": labels.tolist(),
        "predicted": predicted.tolist(),
    }


def _smaller(maps: Tensor) -> Tensor:
    """Return maps ``(n, C, h, w)`` no larger than can be sent."""
    height, width = maps.shape[-2:]
    if max(height, width) <= _MOST_PIXELS:
        return maps
    return nn.functional.adaptive_avg_pool2d(maps, (min(height, _MOST_PIXELS), min(width, _MOST_PIXELS)))


def _plain(values: Tensor) -> list[Any]:
    """Return nested lists of numbers with as many digits as can be seen."""
    scale = values.abs().max().clamp(min=1e-30)
    return (values.double() / scale).round(decimals=_N_DIGITS).mul(scale.double()).tolist()
