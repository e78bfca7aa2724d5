"""Evaluate a LightningModule with its own step and hooks, its logging caught instead of sent to the trainer.

Called from a callback, a module's ``validation_step`` would log into the running validation and corrupt its results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import RunningStage
from pytorch_lightning.utilities.data import extract_batch_size
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.seed import isolate_rng
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torchmetrics import Metric

from lightning_modules.callbacks.attached_data import attached_datamodule
from lightning_modules.callbacks.epoch_seeding import seed_all
from lightning_modules.callbacks.preserved_module import preserved

Split = Literal["validation", "test"]
"""Whose step and hooks are run: ``validation_step`` or ``test_step``."""

_REDUCTIONS: dict[object, str] = {
    **{name: name for name in ("mean", "sum", "min", "max")},
    "avg": "mean",
    torch.mean: "mean",
    torch.sum: "sum",
    torch.min: "min",
    torch.max: "max",
    sum: "sum",
    min: "min",
    max: "max",
}


def captured_evaluation(
    trainer: Trainer,
    module: LightningModule,
    batches: Iterable[Any],
    *,
    split: Split = "validation",
    dataloader_idx: int | None = None,
    seed: int | None = None,
) -> dict[str, float]:
    """Evaluate `module` on `batches` in eval mode, without gradients, and leave no trace of it.

    Restored afterwards: everything that `preserved` restores, Python's, NumPy's and torch's random states, and the
    trainer's stage.

    Args:
        trainer: The trainer that the module is attached to, inside one of its runs.
        module: Its ``{split}_step`` and ``on_{split}_epoch_start/end``, ``on_{split}_batch_start/end`` are called.
        batches: As the dataloader yields them; moved to the device here. May be lazy: read inside the protection.
        split: Which step and hooks are run.
        dataloader_idx: What the step gets for ``dataloader_idx``, >= 0, or None if there is a single dataloader.
        seed: Seeds all generators before the first batch is read, so that augmentation is the same every time; None
            leaves the random state as it is.

    Returns:
        Every scalar that was logged per epoch, by the name that it has in ``trainer.callback_metrics``.
    """
    isolated = isolate_rng(include_cuda=module.device.type == "cuda")
    with preserved(module), isolated, torch.no_grad(), _evaluating(trainer, module, split):
        if seed is not None:
            seed_all(seed)
        evaluation = CapturedEvaluation(trainer, module, split=split)
        evaluation.start()
        for batch_idx, batch in enumerate(batches):
            evaluation.step(to_device(trainer, module, batch), batch_idx, dataloader_idx)
        return evaluation.finish()


class CapturedEvaluation:
    """One pass of a module over batches that the caller feeds it; see `captured_evaluation` for the whole.

    Args:
        trainer: The trainer whose precision applies.
        module: The module to evaluate; the trainer's own or another one whose ``trainer`` is set.
        split: Which step and hooks are run.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, *, split: Split) -> None:
        self._trainer = trainer
        self._module = module
        self._split = split
        self._results: dict[tuple[str, str], _LoggedValue] = {}
        self._hook = ""
        self._batch: Any = None
        self._batch_size: int | None = None
        self._dataloader_idx: int | None = None

    def start(self) -> None:
        """Run the hook that opens the epoch."""
        self._call(f"on_{self._split}_epoch_start")

    def step(self, batch: Any, batch_idx: int, dataloader_idx: int | None = None) -> None:
        """Evaluate one batch.

        Args:
            batch: On the module's device.
            batch_idx: Position of the batch in its dataloader, from 0.
            dataloader_idx: Position of the dataloader, or None if there is only one.
        """
        if dataloader_idx != self._dataloader_idx:
            self._settle()
        self._dataloader_idx = dataloader_idx
        self._batch, self._batch_size = batch, None
        position = (batch_idx,) if dataloader_idx is None else (batch_idx, dataloader_idx)
        self._call(f"on_{self._split}_batch_start", batch, *position)
        name = f"{self._split}_step"
        takes_index = is_param_in_hook_signature(getattr(self._module, name), "batch_idx", min_args=2)
        with self._capturing(name):
            output = self._run_step(batch, *(position if takes_index else position[1:]))
        self._call(f"on_{self._split}_batch_end", output, batch, *position)
        self._batch, self._batch_size = None, None

    def finish(self) -> dict[str, float]:
        """Run the hook that closes the epoch and return what was logged."""
        # Lightning computes what the steps logged before this hook, in which many modules reset their metrics.
        self._settle()
        self._dataloader_idx = None
        self._call(f"on_{self._split}_epoch_end")
        self._settle()
        values = {logged.name: logged.result() for logged in self._results.values()}
        return {name: value for name, value in values.items() if value is not None}

    def _run_step(self, *args: Any) -> Any:
        strategy = self._trainer.strategy
        if self._trainer.lightning_module is self._module:
            return strategy.validation_step(*args) if self._split == "validation" else strategy.test_step(*args)
        if self._split == "validation":
            with self._trainer.precision_plugin.val_step_context():
                return self._module.validation_step(*args)
        with self._trainer.precision_plugin.test_step_context():
            return self._module.test_step(*args)

    def _call(self, hook: str, *args: Any) -> None:
        with self._capturing(hook):
            getattr(self._module, hook)(*args)

    @contextmanager
    def _capturing(self, hook: str) -> Iterator[None]:
        """Divert this module's ``self.log`` here, below any override of it in the module's own class."""
        original = LightningModule.log
        module, capture = self._module, self._log

        def log(self: LightningModule, *args: Any, **kwargs: Any) -> None:
            if self is module:
                capture(*args, **kwargs)
            else:
                original(self, *args, **kwargs)

        self._hook = hook
        LightningModule.log = log  # type: ignore[method-assign]
        try:
            yield
        finally:
            LightningModule.log = original  # type: ignore[method-assign]

    def _settle(self) -> None:
        for logged in self._results.values():
            logged.settle()

    def _log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        **_: Any,
    ) -> None:
        """Stand in for `LightningModule.log`, whose positional order it keeps."""
        if on_epoch is False:
            return
        if add_dataloader_idx and self._dataloader_idx is not None:
            name = f"{name}/dataloader_idx_{self._dataloader_idx}"
        key = (self._hook, name)
        if key not in self._results:
            reduction: Any = reduce_fx.lower() if isinstance(reduce_fx, str) else reduce_fx
            if reduction not in _REDUCTIONS:
                raise MisconfigurationException(f"`reduce_fx` must be min, max, mean or sum, but got {reduce_fx!r}.")
            self._results[key] = _LoggedValue(name, _REDUCTIONS[reduction])
        if isinstance(value, Metric):
            self._results[key].refer_to(value)
        else:
            self._results[key].add(_to_scalar(value, self._module.device), lambda: self._size_of_batch(batch_size))

    def _size_of_batch(self, given: int | None) -> int:
        if given is not None:
            return given
        if self._batch is None:
            return 1
        if self._batch_size is None:
            self._batch_size = extract_batch_size(self._batch)
        return self._batch_size


class _LoggedValue:
    """One logged name, reduced as Lightning reduces it (the same operations, so the same bits)."""

    def __init__(self, name: str, reduction: str) -> None:
        self.name = name
        self._reduction = reduction
        self._value: Tensor | None = None
        self._n_samples: int = 0
        self._metric: Metric | None = None
        self._settled: Tensor | None = None

    def add(self, value: Tensor, batch_size: Callable[[], int]) -> None:
        self._settled = None
        if self._reduction == "mean":
            size = batch_size()
            total = torch.zeros((), dtype=value.dtype, device=value.device) if self._value is None else self._value
            self._value = total + value * size
            self._n_samples += size
        elif self._value is None:
            self._value = value
        elif self._reduction == "sum":
            self._value = self._value + value
        else:
            self._value = (torch.minimum if self._reduction == "min" else torch.maximum)(self._value, value)

    def refer_to(self, metric: Metric) -> None:
        self._settled = None
        self._metric = metric

    def settle(self) -> None:
        if self._settled is None:
            if self._metric is not None:
                computed = self._metric.compute()
                self._settled = computed if isinstance(computed, Tensor) else torch.tensor(math.nan)
            elif self._value is not None:
                self._settled = self._value / self._n_samples if self._reduction == "mean" else self._value

    def result(self) -> float | None:
        return self._settled.item() if self._settled is not None and self._settled.numel() == 1 else None


def to_device(trainer: Trainer, module: LightningModule, batch: Any) -> Any:
    """Move a batch to the trainer's device with all of the transfer hooks, as the trainer's own loops do."""
    batch = trainer.precision_plugin.convert_input(batch)
    data = attached_datamodule(trainer)
    owner = data if data is not None and is_overridden("on_before_batch_transfer", data) else module
    batch = owner.on_before_batch_transfer(batch, 0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


@contextmanager
def _evaluating(trainer: Trainer, module: LightningModule, split: Split) -> Iterator[None]:
    """Put trainer and module into the stage; inside that stage already, their modes are taken as they are."""
    stage = trainer.state.stage
    wanted = RunningStage.VALIDATING if split == "validation" else RunningStage.TESTING
    if stage is wanted:
        yield
        return
    trainer.state.stage = wanted
    module.eval()
    try:
        yield
    finally:
        trainer.state.stage = stage


def _to_scalar(value: Any, device: torch.device) -> Tensor:
    default = torch.get_default_dtype()
    wide = default if default in (torch.float32, torch.float64) else torch.float32
    tensor = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value, dtype=wide, device=device)
    if tensor.numel() != 1:
        raise ValueError(f"`self.log` takes a single number, but got a tensor of shape {tuple(tensor.shape)}.")
    tensor = tensor.squeeze()
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(wide)
