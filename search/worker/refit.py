"""Refit: train on train and validation data together, and validate on nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from lightning_modules.callbacks.epoch_seeding import replace_method
from search.worker.process_group import this_group

TRAIN_ALONE = (
    "the refit trains on the train data alone, since train and validation data cannot be joined; give the data \
module a `train_val_dataloader()`."
)


class TrainOnValidationToo(Callback):
    """Make the train dataloader yield the validation data as well.

    The data module's ``train_val_dataloader()`` if it offers one, else the two DataLoaders' data sets in one. Whoever
    watches a validation metric (a plateau schedule, early stopping) is told to do nothing without one, not to raise.

    Args:
        owner: The data module, or the module that brings its own loaders.

    Attributes:
        notices: What the user should know.
    """

    def __init__(self, owner: Any) -> None:
        self.notices: tuple[str, ...] = ()
        self._owner = owner
        replace_method(owner, "train_dataloader", self._make_loader)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping):
                callback.strict = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            config.strict = False

    def _make_loader(self, train_dataloader: Callable[[], Any]) -> Any:
        offered = getattr(self._owner, "train_val_dataloader", None)
        if callable(offered):
            return offered()
        train = train_dataloader()
        joined = _joined(train, self._owner.val_dataloader())
        if joined is None:
            self.notices = (TRAIN_ALONE,)
            return train
        return joined


def _ends_with_one(n_samples: int, *, batch_size: int) -> bool:
    """Whether a last batch of one sample would come out, on which batch normalization cannot train.

    The split sizes that the search trained with may have none; another sample is left out in every epoch then.
    """
    n_own = -(-n_samples // this_group().n_ranks)
    return n_own > batch_size > 1 and n_own % batch_size == 1


def _reads_all(sampler: object) -> bool:
    """Whether it is one of those that a DataLoader makes by itself, which read every sample."""
    return type(sampler) in (RandomSampler, SequentialSampler)


def _joined(train: Any, validation: Any) -> DataLoader[Any] | None:
    """One DataLoader over both data sets, batched like the train loader, or None if there cannot be one."""
    if isinstance(validation, list | tuple) and len(validation) == 1:
        validation = validation[0]
    if not (isinstance(train, DataLoader) and isinstance(validation, DataLoader)) or train.batch_sampler is None:
        return None
    if isinstance(train.dataset, IterableDataset) or isinstance(validation.dataset, IterableDataset):
        return None
    if (
        not (_reads_all(train.sampler) and _reads_all(validation.sampler))
        or type(train.batch_sampler) is not BatchSampler
    ):
        return None  # what a sampler leaves out may be the test split
    batch_size = train.batch_sampler.batch_size
    data: ConcatDataset[Any] = ConcatDataset([train.dataset, validation.dataset])
    drop_last = train.batch_sampler.drop_last
    return DataLoader(
        data,
        batch_size=batch_size,
        shuffle=True,
        drop_last=drop_last or _ends_with_one(len(data), batch_size=batch_size),
        collate_fn=train.collate_fn,
        num_workers=train.num_workers,
        pin_memory=train.pin_memory,
        worker_init_fn=train.worker_init_fn,
        multiprocessing_context=train.multiprocessing_context,
        generator=train.generator,
    )
