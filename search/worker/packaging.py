"""Write a study's refitted members into one file that classifies raw images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from torch import Tensor, nn

from search.messages import PackageAssignment, PackageResult
from search.model_package import DATA, PackageDescription, write_description
from search.worker import packaged_model
from search.worker.assembly import make_data
from search.worker.export import ExportError, drawn_alike, export, require_same
from search.worker.members import left_by_refits
from search.worker.package_file import deliver, pinned, write_code, write_examples, zipped
from search.worker.packaged_model import DESCRIPTION_NAME, EXPORTED_NAME, PREPROCESSING_NAME, RawImageEnsemble
from search.worker.process_group import leave_process_group, this_group
from search.worker.scratch_directory import scratch_directory
from search.worker.trainer_settings import quiet_libraries
from search.worker.user_error import describe
from search.worker.users_code import files_of
from search.worker.validation_batch import first_validation_batch

_N_EXAMPLES = 2
_EXPORTED_NEEDS = ("torch", "numpy", "pandas")
_REBUILT_NEEDS = (*_EXPORTED_NEEDS, "pytorch-lightning", "torchmetrics")


class _UnfitError(Exception):
    """There can be no packaged model; the message says why, without a full stop."""


def package_model(assignment: PackageAssignment, *, callbacks: Sequence[Callback] = ()) -> PackageResult:
    """Write the file; never raises.

    Args:
        assignment: The members, and where the file goes.
        callbacks: What watches the batch that is looked at.
    """
    try:
        with quiet_libraries(), scratch_directory() as directory:
            return _packaged(assignment, directory, callbacks)
    except _UnfitError as refusal:
        return PackageResult(is_packaged=False, notices=(f"no model was packaged: {refusal}.",))
    except BaseException as raised:
        error, trace = describe(raised)
        return PackageResult(is_packaged=False, error=error, traceback=trace)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is packaged.

    Attributes:
        model: On the CPU, in evaluation mode.
        images: What it takes, ``(2, ...)``.
        probabilities: What it gives for these, ``(2, n_classes)``.
        notices: What the user should know.
    """

    model: RawImageEnsemble
    images: Tensor
    probabilities: Tensor
    notices: tuple[str, ...]


def _packaged(assignment: PackageAssignment, directory: Path, callbacks: Sequence[Callback]) -> PackageResult:
    leave_process_group()
    if this_group().rank != 0:
        return PackageResult(is_packaged=False)
    data = make_data(assignment.assembly)
    weights = directory / "weights"
    weights.mkdir()
    left = left_by_refits(assignment, weights)
    batch = first_validation_batch(left, assignment.assembly, data, directory=directory, callbacks=callbacks)
    subject = _subject(left.modules, data, batch)
    names, notices = _class_names(data, n_classes=subject.probabilities.shape[1])
    package = directory / "package"
    (package / DATA).mkdir(parents=True)
    form = _form(assignment, subject, package / DATA, class_names=names, model_args=left.model_args)
    loader = write_code(package, form.code)
    write_examples(package, subject.images.numpy())
    description = PackageDescription(
        loader_module=loader,
        n_classes=subject.probabilities.shape[1],
        has_class_names=names is not None,
        has_preprocessing=subject.model.preprocessing is not None,
        requirements=pinned(form.needs),
    )
    write_description(description, package)
    target = Path(assignment.file)
    deliver(zipped(package, directory / target.name), target, url=assignment.file_url)
    return PackageResult(is_packaged=True, notices=(*subject.notices, *notices, *form.notices))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How the model was written.

    Attributes:
        code: The user's files that loading it takes, by their place on the import path.
        needs: The packages likewise.
        notices: What the user should know.
    """

    code: Mapping[str, Path]
    needs: Sequence[str]
    notices: tuple[str, ...] = ()


def _form(
    assignment: PackageAssignment,
    subject: _Subject,
    data: Path,
    *,
    class_names: Sequence[str] | None,
    model_args: Sequence[Mapping[str, Any]],
) -> _Form:
    """Write the model, without its class if that is possible.

    Raises:
        _UnfitError: If neither way is.
    """
    described = {"class_names": class_names}
    try:
        export(subject.model, subject.images, data / EXPORTED_NAME)
    except ExportError as error:
        recipe = _recipe(assignment, subject, data, model_args=model_args)
        (data / DESCRIPTION_NAME).write_text(json.dumps({**described, "rebuilt": recipe}))
        _require_same(subject, data)
        notice = f"the model was packaged with its code, since torch.export cannot do without it: {error}."
        return _Form(code=files_of(type(subject.model.members[0])), needs=_REBUILT_NEEDS, notices=(notice,))
    (data / DESCRIPTION_NAME).write_text(json.dumps(described))
    return _Form(code={}, needs=_EXPORTED_NEEDS)


def _subject(members: Sequence[LightningModule], data: LightningDataModule | None, batch: Any) -> _Subject:
    """Put the members together and run them once.

    Raises:
        _UnfitError: If they are no classifiers of tensors.
    """
    preprocessing, raw, notices = _raw(data)
    inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
    images = inputs if raw is None else raw
    if not isinstance(images, Tensor) or images.dim() == 0:
        raise _UnfitError("validation batches are not pairs (x, y) of tensors, so that what a network takes is unknown")
    images = images[:_N_EXAMPLES].cpu()
    images = images.float() if raw is None and images.is_floating_point() else images
    if len(images) < _N_EXAMPLES:
        raise _UnfitError(f"there are fewer than {_N_EXAMPLES} images to try it out with")
    model = RawImageEnsemble([member.cpu() for member in members], preprocessing).eval()
    with torch.no_grad():
        _check_scores(model, images)
        probabilities = model(images)
    return _Subject(model=model, images=images, probabilities=probabilities, notices=notices)


def _raw(data: LightningDataModule | None) -> tuple[nn.Module | None, Tensor | None, tuple[str, ...]]:
    """Return the preprocessing and some raw images, if the data module offers both, and else a notice."""
    preprocessing, raw_examples = (getattr(data, name, None) for name in ("preprocessing", "raw_examples"))
    if isinstance(preprocessing, nn.Module) and callable(raw_examples):
        images = torch.from_numpy(np.ascontiguousarray(raw_examples(_N_EXAMPLES)))
        return deepcopy(preprocessing).cpu(), images, ()
    owner = "the model's own data" if data is None else type(data).__name__
    notice = (
        f"the packaged model takes what the network takes, not raw images: {owner} offers no module `preprocessing` "
        "with `raw_examples(n)`."
    )
    return None, None, (notice,)


def _check_scores(model: RawImageEnsemble, images: Tensor) -> None:
    """Check that the first member gives scores of classes.

    Raises:
        _UnfitError: If it does not.
    """
    prepared = images if model.preprocessing is None else model.preprocessing(images)
    member = model.members[0]
    try:
        scores = packaged_model.scores(member, prepared)
    except Exception as error:
        raise _UnfitError(f"`forward(x)` raised {type(error).__name__}: {error}") from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images) or scores.shape[1] < 2:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise _UnfitError(f"`forward(x)` must give scores of shape (N, C) with C >= 2, but gives {shape}")


def _class_names(data: LightningDataModule | None, *, n_classes: int) -> tuple[list[str] | None, tuple[str, ...]]:
    given = getattr(data, "class_names", None)
    if given is None:
        return None, ()
    names = [str(name) for name in given]
    if len(names) == n_classes:
        return names, ()
    return None, (f"the data module's `class_names` are {len(names)}, but the model has {n_classes} classes.",)


def _recipe(
    assignment: PackageAssignment, subject: _Subject, data: Path, *, model_args: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Write what the members are rebuilt from, and say how.

    Raises:
        _UnfitError: If the preprocessing cannot be exported, which has no class path to rebuild it from.
    """
    preprocessing = subject.model.preprocessing
    if preprocessing is not None:
        try:
            export(preprocessing.eval(), subject.images, data / PREPROCESSING_NAME)
        except ExportError as error:
            raise _UnfitError(f"torch.export can export neither the network nor its preprocessing: {error}") from error
    members = [each for each in subject.model.members if isinstance(each, LightningModule)]
    names = [f"member-{index}.pt" for index in range(len(members))]
    for name, member in zip(names, members, strict=True):
        torch.save(member.state_dict(), data / name)
    return {
        "class_path": assignment.assembly.model_class,
        "init_args": [dict(each) for each in model_args],
        "weights": names,
        "is_strict": members[0].strict_loading,
    }


def _require_same(subject: _Subject, data: Path) -> None:
    """Check that the package gives what the members give.

    Raises:
        _UnfitError: If it does not, or raises.
    """
    try:
        model = packaged_model.load(data)
        theirs = drawn_alike(lambda images: torch.from_numpy(model.probabilities(images.numpy())), subject.images)
    except Exception as error:
        raise _UnfitError(f"made anew from its class, the model raised {type(error).__name__}: {error}") from error
    try:
        require_same(drawn_alike(subject.model, subject.images), theirs)
    except ExportError as error:
        raise _UnfitError("made anew from its class, the model gives other probabilities") from error
