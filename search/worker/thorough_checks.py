"""All checks of a study's model and data, inside the dry run's trainer, each on a module of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.callbacks.attached_data import attached_datamodule
from lightning_modules.callbacks.captured_evaluation import to_device
from lightning_modules.callbacks.train_subset import train_source
from lightning_modules.checks.activations import activations
from lightning_modules.checks.class_balance import class_balance, number_of_classes
from lightning_modules.checks.finding import CannotBeCheckedError, Finding, Verdict
from lightning_modules.checks.first_loss import first_loss, loss_average
from lightning_modules.checks.gradient_check import gradient_check
from lightning_modules.checks.gradient_flow import frozen_parameters, gradient_flow
from lightning_modules.checks.image_duplicates import duplicates, image_hashes
from lightning_modules.checks.label_agreement import MOST_IMAGES, label_agreement
from lightning_modules.checks.learning_by_heart import learning_by_heart
from lightning_modules.checks.learning_rate_range import learning_rate_range
from lightning_modules.checks.pixel_values import input_scale, pixel_values
from lightning_modules.checks.regularization import STRENGTH, regularization, regularization_arguments
from lightning_modules.checks.samples import MOST_SECONDS, Samples, read_samples
from lightning_modules.checks.training_step import first_samples, images_and_labels, scores
from lightning_modules.checks.update_ratio import update_ratio
from search.messages import Checks, ModelAssembly
from search.worker.assembly import import_class, make_model
from search.worker.user_error import describe

_N_BATCHES = 8
_N_BY_HEART = 20
_N_IN_FLOAT64 = 10
_N_IN_ACTIVATIONS = 128


class ThoroughChecks(Callback):
    """Makes all checks when training begins; its one batch then runs as without them.

    Each check has a module of its own, made as a trial's is and with the same seed, so that none sees what another one
    did. A check that raises could not be made, and the next one follows.

    Attributes:
        findings: What was found so far.

    Args:
        checks: What is known of the searched hyperparameters.
        assembly: Model and data at one point of the search space.
        seed: Of the initial weights.
        show_life: Called after each check.
    """

    def __init__(self, checks: Checks, assembly: ModelAssembly, *, seed: int, show_life: Callable[[], None]) -> None:
        self.findings: list[Finding] = []
        self._checks = checks
        self._assembly = assembly
        self._seed = seed
        self._show_life = show_life

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        bench = _Bench(trainer, pl_module, self._assembly, seed=self._seed)
        for name, check in (*_data_checks(bench), *_module_checks(bench, self._checks)):
            self._make(name, check)

    def _make(self, name: str, check: Callable[[], Finding]) -> None:
        try:
            self.findings.append(check())
        except CannotBeCheckedError as why:
            self.findings.append(Finding(check=name, verdict=Verdict.UNCHECKED, seen=str(why)))
        except Exception as error:
            what, _ = describe(error)
            self.findings.append(Finding(check=name, verdict=Verdict.UNCHECKED, seen=f"it raised {what}"))
        self._show_life()


class _Bench:
    """Modules, batches and samples for the checks, read or made when they are first needed."""

    def __init__(self, trainer: Trainer, module: LightningModule, assembly: ModelAssembly, *, seed: int) -> None:
        self._trainer = trainer
        self._module = module
        self._assembly = assembly
        self._seed = seed

    def fresh(self, changes: Mapping[str, Any] | None = None, *, other_seed: bool = False) -> LightningModule:
        """Make the module as a trial gets it, attached to the trainer, with some init arguments changed."""
        assembly = replace(self._assembly, model_args={**self._assembly.model_args, **(changes or {})})
        module = make_model(assembly, seed=self._seed + other_seed)
        module.trainer = self._trainer
        module.setup("fit")
        module.configure_model()
        return self._trainer.precision_plugin.convert_module(module).to(self._module.device)  # type: ignore[return-value]

    @property
    def model_class(self) -> type[LightningModule]:
        return import_class(self._assembly.model_class, base=LightningModule, key="model.class_path")

    @cached_property
    def batches(self) -> list[Any]:
        """Train batches as training gets them, on the device."""
        # Several loaders are taken from side by side, as training does: each batch is a collection of theirs.
        side_by_side = CombinedLoader(self._trainer.train_dataloader, "max_size_cycle")
        loaded = (batch for batch, _, _ in iter(side_by_side))
        found = [to_device(self._trainer, self._module, batch) for batch in islice(loaded, _N_BATCHES)]
        if not found:
            raise CannotBeCheckedError("the train dataloader yields no batch")
        return found

    @property
    def batch(self) -> Any:
        return first_samples(self.batches[0], _N_IN_ACTIVATIONS)

    @cached_property
    def is_augmented(self) -> bool:
        return train_source(self._trainer, self._module).augmented

    @cached_property
    def train(self) -> Samples:
        """Train samples, without augmentation where the data module offers them so."""
        return read_samples(batch for batch, _, _ in _combined(train_source(self._trainer, self._module).loader))

    @cached_property
    def val(self) -> Samples:
        return read_samples(batch for batch, _, _ in _combined(self._trainer.val_dataloaders))

    @cached_property
    def train_hashes(self) -> frozenset[bytes]:
        return frozenset(image_hashes(self.train.images))

    @cached_property
    def few(self) -> Any:
        """A few train samples, of all classes, as the module gets them."""
        try:
            images_and_labels(self.batches[0])
            few = self.train.evenly(_N_BY_HEART)
        except CannotBeCheckedError:
            return first_samples(self.batches[0], _N_BY_HEART)
        return to_device(self._trainer, self._module, few)

    def test_hashes(self) -> tuple[list[bytes], bool]:
        """Return digests of the images of the test split, and whether of all; its labels are not looked at.

        Raises:
            CannotBeCheckedError: If there is no test split, or batches do not begin with images.
        """
        owner: LightningModule | LightningDataModule = attached_datamodule(self._trainer) or self._module
        if not is_overridden("test_dataloader", owner):
            raise CannotBeCheckedError("there is no test split")
        owner.setup("test")
        deadline = time.monotonic() + MOST_SECONDS
        found: list[bytes] = []
        for batch, _, _ in _combined(owner.test_dataloader()):
            if not isinstance(batch, list | tuple) or not batch or not isinstance(batch[0], torch.Tensor):
                raise CannotBeCheckedError("test batches do not begin with images")
            if found and time.monotonic() > deadline:
                return found, False
            found += image_hashes(batch[0])
        if not found:
            raise CannotBeCheckedError("the test dataloader yields no batch")
        return found, True


_Named = tuple[str, Callable[[], Finding]]


def _data_checks(bench: _Bench) -> Iterable[_Named]:
    yield "pixel values (train)", lambda: pixel_values(bench.train.images, split="train")
    yield "pixel values (val)", lambda: pixel_values(bench.val.images, split="val")
    yield "labels and images", lambda: label_agreement(*_drawn(bench.train, MOST_IMAGES))
    yield "class balance", lambda: class_balance(bench.train.labels)
    yield "number of classes", lambda: _number_of_classes(bench)
    yield "leakage (val)", lambda: _leakage(bench, image_hashes(bench.val.images), bench.val.are_all, split="val")
    yield "leakage (test)", lambda: _leakage(bench, *bench.test_hashes(), split="test")


def _module_checks(bench: _Bench, checks: Checks) -> Iterable[_Named]:
    yield "input scale", lambda: input_scale(bench.fresh(), bench.batch)
    yield "first loss", lambda: first_loss(bench.fresh(), bench.batch)
    yield "loss average", lambda: loss_average(bench.fresh(), bench.batch)
    for argument in regularization_arguments(bench.model_class):
        yield f"regularization ({argument})", lambda argument=argument: _regularization(bench, argument)  # type: ignore[misc]
    for scheme in checks.init_schemes:
        yield (
            f"activations ({scheme})",
            lambda scheme=scheme: activations(bench.fresh({"init_scheme": scheme}), bench.batch, scheme=scheme),  # type: ignore[misc]
        )
    if not checks.init_schemes:
        yield "activations", lambda: activations(bench.fresh(), bench.batch)
    yield "gradient flow", lambda: gradient_flow(bench.fresh(), bench.batch)
    yield "frozen parameters", lambda: frozen_parameters(bench.fresh(), bench.fresh(other_seed=True))
    yield "gradient check", lambda: gradient_check(bench.fresh(), first_samples(bench.few, _N_IN_FLOAT64))
    yield "learning by heart", lambda: learning_by_heart(bench.fresh(), bench.few, rates=checks.learning_rates)
    declared = checks.learning_rate_range
    yield "learning-rate range", lambda: learning_rate_range(bench.fresh(), bench.batches, declared=declared)
    yield "update ratio", lambda: update_ratio(bench.fresh(), bench.batches, declared=declared)


def _drawn(samples: Samples, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw `n` samples at random, or take all: a loader may have them class by class."""
    order = torch.randperm(len(samples.labels), generator=torch.Generator().manual_seed(0))[:n]
    return samples.images[order], samples.labels[order]


def _number_of_classes(bench: _Bench) -> Finding:
    images, _ = images_and_labels(bench.batch)
    with torch.no_grad():
        n_outputs = scores(bench.fresh().eval(), images[:2]).shape[1]
    return number_of_classes(
        torch.cat([bench.train.labels, bench.val.labels]),
        n_outputs=n_outputs,
        are_all=bench.train.are_all and bench.val.are_all,
    )


def _leakage(bench: _Bench, held_out: list[bytes], are_all: bool, *, split: str) -> Finding:
    return duplicates(
        bench.train_hashes,
        held_out,
        split=split,
        are_all=are_all and bench.train.are_all,
        augmented=bench.is_augmented,
    )


def _regularization(bench: _Bench, argument: str) -> Finding:
    without, strong = (bench.fresh({argument: strength}) for strength in (0.0, STRENGTH))
    return regularization(without, strong, bench.batch, argument=argument)


def _combined(loaders: Any) -> Iterator[Any]:
    """Iterate over one loader, or a collection of them as Lightning takes it: batches with their two indices."""
    return iter(CombinedLoader(loaders, "sequential"))
