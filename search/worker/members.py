"""The members that a study's refits have left, side by side in one module that a Trainer can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME, SNAPSHOTS_NAME, WEIGHTS_NAME
from lightning_modules.callbacks.epoch_checkpoint import load_checkpoint
from search.errors import SearchError
from search.messages import LookAssignment, ModelAssembly, PackageAssignment, TestAssignment
from search.worker.assembly import import_class, make_model
from search.worker.checkpoint_mirror import fetched_members

_DATA_HOOKS = (
    *("val_dataloader", "test_dataloader"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What refits have left.

    Attributes:
        modules: A freshly built module for each member, all of one class.
        weights: Their state dicts, in the same order; read from disk when asked for.
        sizes: Members of each refit, >= 1; they follow one another, the final weights last.
        model_args: Init arguments of each member.
    """

    modules: Sequence[LightningModule]
    weights: Sequence[Callable[[], dict[str, Any]]]
    sizes: tuple[int, ...]
    model_args: Sequence[Mapping[str, Any]]


def left_by_refits(assignment: TestAssignment | PackageAssignment | LookAssignment, into: Path) -> Left:
    """Build the members of an assignment, and find their weights.

    Args:
        assignment: Of them; one to be looked at is looked at without its snapshots.
        into: Where weights behind URLs are downloaded to; exists.

    Raises:
        SearchError: If there are no weights, or a store does not answer.
    """
    assembly = assignment.assembly
    if isinstance(assignment, LookAssignment):
        urls = (assignment.checkpoint,) if assignment.checkpoint else ()
        (directory,) = fetched_members(urls, (assignment.directory,), into)
        arguments = _args_without_files(assembly, assembly.model_args)
        return Left(
            modules=[make_model(replace(assembly, model_args=arguments), seed=0)],
            weights=[partial(refit_weights, directory)],
            sizes=(1,),
            model_args=[arguments],
        )
    directories = fetched_members(
        assignment.checkpoints, assignment.directories, into, with_snapshots=assignment.has_snapshots
    )
    weights: list[list[Callable[[], dict[str, Any]]]] = []
    for directory in directories:
        kept = _snapshots(directory) if assignment.has_snapshots else []
        weights.append([*kept, partial(refit_weights, directory)])
    sizes = tuple(map(len, weights))
    by_refit = assignment.model_args or (assembly.model_args,) * len(sizes)
    by_member = [
        _args_without_files(assembly, each) for each, size in zip(by_refit, sizes, strict=True) for _ in range(size)
    ]
    return Left(
        modules=[make_model(replace(assembly, model_args=each), seed=0) for each in by_member],
        weights=[each for own in weights for each in own],
        sizes=sizes,
        model_args=by_member,
    )


def _args_without_files(assembly: ModelAssembly, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return init arguments with which the class reads no weights that are replaced anyway.

    What a member began its training with may be gone by now, and is not there where a packaged model is loaded.
    """
    cls = import_class(assembly.model_class, base=LightningModule, key="model.class_path")
    return {**arguments, **getattr(cls, "args_when_weights_follow", {})}


class Members(LightningModule):
    """Members that are fed the same batches.

    Args:
        members: Freshly built modules of one class.
        weights: Give their state dicts, in the same order; asked when a Trainer sets the module up.
    """

    def __init__(self, members: Sequence[LightningModule], weights: Sequence[Callable[[], Mapping[str, Any]]]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)
        # Only what the members override, so that Lightning sees no hook compete with the data module's.
        for hook in _DATA_HOOKS:
            if is_overridden(hook, members[0]):
                setattr(self, hook, getattr(members[0], hook))
        self._weights = weights

    @property
    def modules_in_order(self) -> list[LightningModule]:
        """The members."""
        return [each for each in self.members if isinstance(each, LightningModule)]

    def setup(self, stage: str) -> None:
        for member in self.modules_in_order:
            member.trainer = self.trainer
            member.setup(stage)

    def configure_model(self) -> None:
        for member, weights in zip(self.modules_in_order, self._weights, strict=True):
            member.configure_model()
            member.load_state_dict(weights(), strict=member.strict_loading)


def copied(batch: Any) -> Any:
    """Return a copy of a tensor, or of tensors, for a step that may change its batch in place."""
    if isinstance(batch, Tensor):
        return batch.clone()
    if isinstance(batch, list | tuple) and all(isinstance(each, Tensor) for each in batch):
        return type(batch)(each.clone() for each in batch) if type(batch) in (list, tuple) else batch
    return batch


def _snapshots(directory: Path) -> list[Callable[[], dict[str, Any]]]:
    """Return what gives each of the weights that were kept before the final ones; none if the file is not there."""
    path = directory / SNAPSHOTS_NAME
    if not path.exists():
        return []
    return [partial(dict, each) for each in load_checkpoint(path).values()]


def refit_weights(directory: Path) -> dict[str, Any]:
    """Read a member's final weights, from its last checkpoint if they were not kept apart.

    Raises:
        SearchError: If there are neither.
    """
    for name in (WEIGHTS_NAME, CHECKPOINT_NAME):
        if (directory / name).exists():
            content = load_checkpoint(directory / name)
            weights: dict[str, Any] = content if name == WEIGHTS_NAME else content["state_dict"]
            return weights
    raise SearchError(f"there are no weights in {directory}: neither {WEIGHTS_NAME} nor {CHECKPOINT_NAME}.")
