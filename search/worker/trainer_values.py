"""Find out whether the user's Trainer arguments have values with which a trial can train and validate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.data import sized_len
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from search.errors import StudyDefinitionError
from search.worker.trainer_settings import make_trainer
from search.worker.user_error import describe

_LENGTH = "a whole number of batches >= 1 or a fraction in (0.0, 1.0] of them"
_EXPECTED: Mapping[str, str] = {
    **dict.fromkeys(("limit_train_batches", "limit_val_batches"), _LENGTH),
    **dict.fromkeys(("limit_test_batches", "limit_predict_batches", "overfit_batches"), f"0 or {_LENGTH}"),
}


def trainer_as_given(trainer_args: Mapping[str, Any], *, directory: Path) -> Trainer:
    """Construct the Trainer that a trial would have, to be looked at, not to be run.

    Args:
        trainer_args: The user's, checked by `check_trainer_args`.
        directory: Its root directory.

    Raises:
        StudyDefinitionError: If Lightning refuses a value, or if one leaves nothing to train or to validate on.
    """
    try:
        trainer = _construct(trainer_args, directory)
    except Exception as error:
        name = _culprit(trainer_args, directory)
        what, _ = describe(error)
        if name is None:
            raise StudyDefinitionError(f"`pytorch_lightning.Trainer` refuses them: {what}", key="trainer") from error
        expected = f" It must be {_EXPECTED[name]}." if name in _EXPECTED else ""
        raise StudyDefinitionError(
            f"`pytorch_lightning.Trainer` refuses `{name}: {trainer_args[name]!r}`: {what}{expected}",
            key=f"trainer.{name}",
        ) from error
    for name, purpose in (("limit_train_batches", "train"), ("limit_val_batches", "validate")):
        if getattr(trainer, name) == 0:
            raise StudyDefinitionError(
                f"`{name}` must be {_EXPECTED[name]}, but got {trainer_args[name]!r}, which leaves nothing to"
                f" {purpose} on.",
                key=f"trainer.{name}",
            )
    return trainer


def check_fractions(given: Trainer, ran: Trainer) -> None:
    """Check that fractions of the dataloaders' lengths are not less than one batch.

    Args:
        given: From `trainer_as_given`.
        ran: One that has its dataloaders, of a fit that is not over yet.

    Raises:
        StudyDefinitionError: If a trial would read no batch.
    """
    for name, loaders in (("limit_train_batches", ran.train_dataloader), ("limit_val_batches", ran.val_dataloaders)):
        fraction = getattr(given, name)
        if not isinstance(fraction, float) or loaders is None:
            continue
        for loader in CombinedLoader(loaders).flattened:
            n_batches = sized_len(loader)
            if n_batches is not None and n_batches > 0 and int(n_batches * fraction) == 0:
                overfits = given.overfit_batches > 0  # type: ignore[attr-defined]
                key = "overfit_batches" if overfits else name
                raise StudyDefinitionError(
                    f"`{key}: {fraction!r}` of {n_batches} batches is less than one batch; it must be at least"
                    f" {1 / n_batches:.3g}, or a whole number of batches.",
                    key=f"trainer.{key}",
                )


def _construct(trainer_args: Mapping[str, Any], directory: Path) -> Trainer:
    return make_trainer(trainer_args, directory=directory, max_epochs=1, callbacks=())


def _culprit(trainer_args: Mapping[str, Any], directory: Path) -> str | None:
    """The one argument without which there is a Trainer; None if there is no such one, or several."""
    cures = []
    for name in trainer_args:
        try:
            _construct({other: value for other, value in trainer_args.items() if other != name}, directory)
        except Exception:
            continue
        cures.append(name)
    return cures[0] if len(cures) == 1 else None
