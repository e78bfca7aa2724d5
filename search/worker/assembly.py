"""Build a trial's model and data from import paths and plain arguments."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.callbacks.epoch_seeding import seed_all
from search.errors import StudyDefinitionError, did_you_mean
from search.messages import ModelAssembly

_DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A trial's objects.

    Where there is a data module, Lightning looks for no dataloader in the model: it would raise, or skip validation
    without a word. So what the model alone defines is lent to the data module.
    """

    model: LightningModule
    data: LightningDataModule | None

    def __post_init__(self) -> None:
        if self.data is None:
            return
        for name in _DATALOADERS:
            if not is_overridden(name, self.data) and is_overridden(name, self.model):
                setattr(self.data, name, getattr(self.model, name))

    @property
    def loader_owner(self) -> LightningModule | LightningDataModule:
        """Whose dataloaders are used."""
        return self.model if self.data is None else self.data

    def defines(self, dataloader: str) -> bool:
        """Whether there is a dataloader of that name (``test_dataloader``), in the data module or in the model."""
        return is_overridden(dataloader, self.loader_owner)


def assemble(assembly: ModelAssembly, *, seed: int) -> Assembled:
    """Build data module and model; initial weights are a function of `seed`, data of the study alone.

    Raises:
        StudyDefinitionError: If a class cannot be found or is of the wrong kind.
        Exception: Whatever the user's code raises.
    """
    data = make_data(assembly)
    return Assembled(model=make_model(assembly, seed=seed), data=data)


def make_data(assembly: ModelAssembly) -> LightningDataModule | None:
    """Build the data module, if there is one."""
    if assembly.data_class is None:
        return None
    cls = import_class(assembly.data_class, base=LightningDataModule, key="data.class_path")
    seed_all(assembly.data_seed, "data module")
    data: LightningDataModule = cls(**assembly.data_args)
    return data


def make_model(assembly: ModelAssembly, *, seed: int) -> LightningModule:
    """Build the model; its initial weights do not depend on what the data module drew."""
    cls = import_class(assembly.model_class, base=LightningModule, key="model.class_path")
    seed_all(seed, "model")
    model: LightningModule = cls(**assembly.model_args)
    return model


def seed_setup(assembly: ModelAssembly) -> None:
    """Seed what ``prepare_data`` and ``setup`` draw (splits); called right before a trainer runs."""
    seed_all(assembly.data_seed, "setup")


def import_class(path: str, *, base: type, key: str) -> type[Any]:
    """Import a class.

    Args:
        path: ``package.module.Class``.
        base: What it must be a subclass of.
        key: Where the path stands in the study file.

    Raises:
        StudyDefinitionError: If there is no such module or class, or it is not of the right kind.
        Exception: Whatever importing the module raises.
    """
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise StudyDefinitionError(f"a class path has a module, `package.module.Class`, but got {path!r}.", key=key)
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_path != missing and not module_path.startswith(f"{missing}."):
            raise  # the module is there; what it imports is not
        raise StudyDefinitionError(
            f"there is no module {missing!r} on the import path (for {path!r}); packages of yours are found from the"
            " directory that zeroin is run in, or when they are installed.",
            key=key,
        ) from error
    cls: Any = getattr(module, name, None)
    if cls is None:
        # What a package only lists is imported on first use, and none of it is imported for a hint.
        known = vars(module)
        fitting = [each for each in dir(module) if each not in known or _is_subclass(known[each], base)]
        raise StudyDefinitionError(f"{module_path!r} has no class {name!r}.{did_you_mean(name, fitting)}", key=key)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise StudyDefinitionError(f"{path!r} must be a subclass of {base.__name__}, but is {_kind(cls)}.", key=key)
    return cls


def n_trainable_parameters(model: LightningModule) -> int:
    """Return how many parameters training may change, before any strategy has shared them out."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def check_arguments(cls: type[Any], arguments: Mapping[str, Any], *, prefix: str, searched: tuple[str, ...]) -> None:
    """Check init arguments against a class's signature.

    Args:
        cls: The class.
        arguments: Constants and one set of hyperparameters.
        prefix: ``model`` or ``data``.
        searched: Dotted names of the searched ones, of both classes (``model.learning_rate``, ``model.head.width``).

    Raises:
        StudyDefinitionError: If the class does not take one, or needs one that is not given.
    """
    parameters = inspect.signature(cls).parameters.values()
    named = {each.name: each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    ours = [name.split(".") for name in searched if name.startswith(f"{prefix}.")]
    keys = {path[1]: f"space.{'.'.join(path)}" for path in ours if len(path) > 1}
    for name in (*arguments, *keys):
        if name not in named and not takes_any:
            raise StudyDefinitionError(
                f"{cls.__qualname__} takes no argument {name!r}.{did_you_mean(name, named)}"
                f" It takes: {', '.join(named) or 'none'}.",
                key=keys.get(name, f"{prefix}.init_args.{name}"),
            )
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise StudyDefinitionError(
                f"{cls.__qualname__} needs the argument {name!r}, which "
                + ("is searched under a condition only." if name in keys else "is neither given nor searched."),
                key=keys.get(name, f"{prefix}.init_args"),
            )


def _is_subclass(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _kind(value: object) -> str:
    return f"the class {value.__qualname__}" if isinstance(value, type) else f"a {type(value).__name__}"
