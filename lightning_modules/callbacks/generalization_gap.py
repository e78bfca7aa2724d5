"""Measure the generalization gap of any LightningModule at the end of every epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

from lightning_modules.callbacks.batch_samples import n_samples_in
from lightning_modules.callbacks.captured_evaluation import captured_evaluation
from lightning_modules.callbacks.metric_names import gap_name, stem, train_eval_name
from lightning_modules.callbacks.rank_reduction import mean_over_ranks
from lightning_modules.callbacks.train_subset import TrainSubset, train_source, validation_size

_LOWER_IS_BETTER = re.compile(
    r".*loss|.*error|err|r?mse|mae|s?mape|r?msle|nll|b?ce|(cross)?entropy|perplexity|ppl|bpc|hinge|brier|[em]ce|kld?"
    r"|divergence|dist(ance)?|cost|regret|deviation|residual|[wcm]er|[fk]id|lpips|eer|hausdorff|violations?|mistakes"
    r"|misclassification"
)


class GeneralizationGap(Callback):
    """Evaluate a fixed, seeded train subset with the module's own ``validation_step`` in every validation.

    For every metric m that the module logs in validation, `metrics` then holds ``train_eval_…`` (m on the train subset,
    in eval mode) and ``gap_…``, positive = overfitting: validation minus train where less is better, train minus
    validation where more is.

    Training and validation are bit-identical with and without this callback. It runs when the first validation batch is
    about to be evaluated: everything (other callbacks' averaged weights among it) is set for validation by then.

    Under a distributed strategy the processes share the subset out, and `metrics` holds means over all of them.

    Args:
        monitor: Metric whose direction is known.
        maximize: Whether more of `monitor` is better.
        further_maximize: The same of other metrics, by name; of those that are not in it, it follows from their names.
        seed: Draws the train subset.
        n_samples: Size of the subset, >= 1; None for that of the validation set. Never more than there are.
        cache_bytes: The subset is kept in CPU memory if it is not larger.
        log: Whether to log the metrics as the module's own (they are in `metrics` in any case).
        on_batch: Called for each batch of the subset, before it is evaluated; the trainer's own hooks are not.

    Attributes:
        metrics: The gap's metrics of the epoch, empty before its validation and in epochs without one.
        notices: What the user should know about them.
    """

    def __init__(
        self,
        *,
        monitor: str,
        maximize: bool,
        further_maximize: Mapping[str, bool] = MappingProxyType({}),
        seed: int,
        n_samples: int | None = None,
        cache_bytes: int = 64 * 2**20,
        log: bool = True,
        on_batch: Callable[[], object] = lambda: None,
    ) -> None:
        self.metrics: Mapping[str, float] = MappingProxyType({})
        self.notices: tuple[str, ...] = ()
        self._maximize = {**further_maximize, monitor: maximize}
        self._seed = seed
        self._n_samples = n_samples
        self._cache_bytes = cache_bytes
        self._log = log
        self._on_batch = on_batch
        self._subset: TrainSubset | None = None
        self._is_off = False
        self._train_eval: Mapping[str, float] = {}
        self._n_train_samples = 0
        self._n_val_samples = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._subset, self._is_off, self.notices = None, False, ()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._subset = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics = MappingProxyType({})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._n_train_samples = self._n_val_samples = 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.world_size > 1:
            self._n_val_samples += n_samples_in(batch)
        if batch_idx or dataloader_idx or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        subset = self._open_subset(trainer, pl_module)
        if subset is None:
            return
        n_loaders = len(trainer.num_val_batches)
        self._train_eval = captured_evaluation(
            trainer, pl_module, self._counted(subset), seed=self._seed, dataloader_idx=0 if n_loaders > 1 else None
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        train_eval, self._train_eval = self._train_eval, {}
        if not train_eval:
            return
        logged = {name: trainer.callback_metrics[name] for name in train_eval if name in trainer.callback_metrics}
        validation = {name: value.item() for name, value in logged.items() if value.numel() == 1}
        train_eval = mean_over_ranks(trainer, train_eval, n_samples=self._n_train_samples)
        validation = mean_over_ranks(trainer, validation, n_samples=self._n_val_samples)
        metrics: dict[str, float] = {}
        for name, value in validation.items():
            excess = train_eval[name] - value
            more_is_better = self._maximize[name] if name in self._maximize else higher_is_better(name)
            metrics[train_eval_name(name)] = train_eval[name]
            metrics[gap_name(name)] = excess if more_is_better else -excess
        self.metrics = MappingProxyType(metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._log:
            for name, value in self.metrics.items():
                LightningModule.log(pl_module, name, value)  # past an override that renames what the module logs

    def _counted(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            self._on_batch()
            self._n_train_samples += n_samples_in(batch)
            yield batch

    def _open_subset(self, trainer: Trainer, module: LightningModule) -> TrainSubset | None:
        if self._subset is None and not self._is_off:
            try:
                self._subset = self._make_subset(trainer, module)
            except TypeError as error:
                self._is_off = True
                self.notices = (
                    f"there is no generalization gap: {error}; give the data module a `train_eval_dataloader()`.",
                )
        return self._subset

    def _make_subset(self, trainer: Trainer, module: LightningModule) -> TrainSubset:
        if is_param_in_hook_signature(module.validation_step, "dataloader_iter", explicit=True):
            raise TypeError("`validation_step` takes the dataloader's iterator, not a batch")
        source = train_source(trainer, module)
        n_samples = self._n_samples if self._n_samples is not None else validation_size(trainer)
        subset = TrainSubset(
            source.loader,
            n_samples=n_samples,
            seed=self._seed,
            cache_bytes=self._cache_bytes,
            rank=trainer.global_rank,
            n_ranks=trainer.world_size,
        )
        if source.augmented:
            self.notices = (
                "the generalization gap is measured on the train data as training sees them, with augmentation if there"
                " is any: give the data module a `train_eval_dataloader()` without it to measure them clean.",
            )
        return subset


def higher_is_better(metric: str) -> bool:
    """Guess a metric's direction from the words of its name (``val_top1_error``: less; ``val_auroc``: more)."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem(metric)).lower())
    return not any(_LOWER_IS_BETTER.fullmatch(word) for word in words)
