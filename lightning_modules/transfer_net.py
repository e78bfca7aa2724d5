"""Transfer learning: a backbone that was trained on other images, with a head of its own for these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pytorch_lightning.strategies import ParallelStrategy
from torch import nn
from torch.optim import Optimizer

from lightning_modules.arguments import ArgumentError, check_count, check_number
from lightning_modules.class_paths import class_path_of
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.transfer.backbone import NAME, first_layer_name, head_name, make_network
from lightning_modules.transfer.blocks import Block, backbone_blocks
from lightning_modules.transfer.loading import load_backbone
from lightning_modules.transfer.recommended import recommended_transfer
from lightning_modules.transfer.weights_files import read_weights

RECOMMENDED = "recommended"
ALL = "all"


class TransferNet(ImageClassifier):
    """Image classifier on a trained backbone, of which all, some of the last blocks, or none train.

    The head is the network's last linear layer, drawn anew. It trains alone for `head_epochs`; then the last
    `unfreeze_depth` blocks of the backbone train with it, at a lower rate. What is frozen has no gradient, no weight
    decay and no momentum, and is in eval mode: batch normalization keeps its statistics, dropout is off.

    Attributes:
        blocks: Of the backbone, first to last; see `lightning_modules.transfer.blocks`.
        n_frozen: How many of them, from the first on, never train.
    """

    args_when_weights_follow: ClassVar[Mapping[str, Any]] = {"weights": None}
    """Init arguments to be replaced where all weights are loaded next: the backbone's file need not be there then."""

    # `train` may be called before they are known.
    blocks: tuple[Block, ...] = ()
    n_frozen: int = 0
    _n_frozen_now: int = 0

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        backbone: str | Mapping[str, Any],
        weights: str | None,
        unfreeze_depth: int | str = RECOMMENDED,
        freeze_up_to: str | None = None,
        n_train_images: int | None = None,
        similar: bool = True,
        head_epochs: int = 1,
        backbone_lr_ratio: float = 0.1,
        **training: Any,
    ) -> None:
        """Build the network, draw the head's weights from torch's global random generator, and load the others.

        Args:
            in_channels: Channels of an image, >= 1; a backbone for colour images takes grey ones and vice versa.
            n_classes: >= 2.
            backbone: Class path of the network, ``lightning_modules.ConvNet`` or ``torchvision.models.resnet18``; with
                arguments as ``{class_path: …, init_args: {…}}``, those that it had when `weights` were trained.
            weights: A checkpoint of zeroin or Lightning, a trial's directory, a file with a ``state_dict``, a name of
                torchvision's weights (``IMAGENET1K_V1``), or ``digits-0-to-4``, which come with this package; None to
                draw them all.
            unfreeze_depth: How many of the backbone's last blocks train, >= 0, or ``all``; ``recommended`` takes it
                from `n_train_images` and `similar`, see `recommended_transfer`.
            freeze_up_to: Name of the last block that is frozen, in place of `unfreeze_depth`.
            n_train_images: Images to train on, >= 1, for ``recommended``.
            similar: Whether they resemble those that the backbone was trained on, for ``recommended``.
            head_epochs: Epochs that the head trains alone before the backbone does too, >= 0; without effect if none of
                it does.
            backbone_lr_ratio: Learning rate of the backbone / that of the head, in ``(0, 1]``.
            training: How it is trained, as for `ImageClassifier`; `init_scheme` and `init_gain` are for the head.

        Raises:
            ValueError: If an argument is out of its bounds, there are no such weights, or they do not fit the backbone.
        """
        check_count(head_epochs, name="head_epochs", at_least=0)
        check_number(
            backbone_lr_ratio, name="backbone_lr_ratio", low=0.0, high=1.0, includes_low=False, includes_high=True
        )
        network = make_network(backbone, in_channels=in_channels, n_classes=n_classes)
        head = head_name(network)
        blocks = backbone_blocks(network, head=head)
        n_frozen = _n_frozen(
            blocks,
            unfreeze_depth=unfreeze_depth,
            freeze_up_to=freeze_up_to,
            n_train_images=n_train_images,
            similar=similar,
        )
        state = None if weights is None else read_weights(weights, class_path=class_path_of(backbone, name=NAME))
        super().__init__(network, **training)
        if weights is not None and state is not None:
            load_backbone(self.network, state, head=head, first_layer=first_layer_name(self.network), source=weights)
        if self.optimizer_settings.name == "lbfgs" and n_frozen < len(blocks) and backbone_lr_ratio != 1.0:
            raise ArgumentError(
                "`backbone_lr_ratio` must be 1.0 with `optimizer` 'lbfgs', which knows one learning rate only, "
                f"but got {backbone_lr_ratio!r}."
            )
        self.blocks = blocks
        self.n_frozen = n_frozen
        self.head_epochs = head_epochs
        self.backbone_lr_ratio = backbone_lr_ratio
        self._head = head
        self._freeze(n_frozen)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is not frozen, which stays in eval mode."""
        super().train(mode)
        for block in self.blocks[: self._n_frozen_now]:
            for name in block.modules:
                self.network.get_submodule(name).eval()
        return self

    def setup(self, stage: str) -> None:
        """Let all that will ever train be trainable when the optimizer is built and the processes are connected."""
        super().setup(stage)
        self._freeze(self.n_frozen)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        # Before its first epoch Lightning warns of modules in eval mode; that epoch begins with putting them there.
        super().train(self.training)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        only_head = self.trainer.current_epoch < self.head_epochs
        self._n_frozen_now = len(self.blocks) if only_head else self.n_frozen
        if isinstance(self.trainer.strategy, ParallelStrategy):
            self.train(self.training)  # its processes settle once which gradients they exchange
        else:
            self._freeze(self._n_frozen_now)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        if self._n_frozen_now > self.n_frozen:
            for parameter in self._frozen_parameters(self._n_frozen_now):
                parameter.grad = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained, as groups for a torch optimizer: the head's, then the backbone's at a lower rate."""
        groups = super().parameter_groups()
        if self.backbone_lr_ratio == 1.0:
            return groups  # for optimizers that know one learning rate only
        head = {id(parameter) for parameter in self.network.get_submodule(self._head).parameters()}
        rate = self.optimizer_settings.learning_rate * self.backbone_lr_ratio
        of_head = [group | {"params": [each for each in group["params"] if id(each) in head]} for group in groups]
        others = [
            group | {"params": [each for each in group["params"] if id(each) not in head], "lr": rate}
            for group in groups
        ]
        return [group for group in (*of_head, *others) if group["params"]]

    def _freeze(self, n_blocks: int) -> None:
        """Freeze so many of the first blocks, and nothing else."""
        self._n_frozen_now = n_blocks
        self.network.requires_grad_(True)
        for parameter in self._frozen_parameters(n_blocks):
            parameter.requires_grad_(False)
            parameter.grad = None
        self.train(self.training)

    def _frozen_parameters(self, n_blocks: int) -> list[nn.Parameter]:
        """Return the parameters of the first blocks, and those that no block has, if there are any first blocks."""
        if n_blocks == 0:
            return []
        trained = {id(parameter) for parameter in self.network.get_submodule(self._head).parameters()}
        for block in self.blocks[n_blocks:]:
            for name in block.modules:
                trained.update(id(parameter) for parameter in self.network.get_submodule(name).parameters())
        return [parameter for parameter in self.network.parameters() if id(parameter) not in trained]


def _n_frozen(
    blocks: tuple[Block, ...],
    *,
    unfreeze_depth: int | str,
    freeze_up_to: str | None,
    n_train_images: int | None,
    similar: bool,
) -> int:
    """Return how many of the first blocks are frozen."""
    names = [block.name for block in blocks]
    if freeze_up_to is not None:
        if unfreeze_depth != RECOMMENDED:
            raise ArgumentError(
                "Of `unfreeze_depth` and `freeze_up_to` one must be left out, "
                f"but got {unfreeze_depth!r} and {freeze_up_to!r}."
            )
        if freeze_up_to not in names:
            raise ArgumentError(
                f"`freeze_up_to` must be a block of the backbone, one of {names!r}, but got {freeze_up_to!r}."
            )
        return names.index(freeze_up_to) + 1
    if unfreeze_depth == RECOMMENDED:
        if n_train_images is None:
            raise ArgumentError(
                "`n_train_images` must be given for the `unfreeze_depth` that is recommended; or give the "
                f"`unfreeze_depth` itself, 'all' or an integer in [0, {len(blocks)}]."
            )
        check_count(n_train_images, name="n_train_images", at_least=1)
        return len(blocks) - recommended_transfer(n_train_images, similar=similar, n_blocks=len(blocks))
    if unfreeze_depth == ALL:
        return 0
    if (
        not isinstance(unfreeze_depth, int)
        or isinstance(unfreeze_depth, bool)
        or not 0 <= unfreeze_depth <= len(blocks)
    ):
        raise ArgumentError(
            f"`unfreeze_depth` must be 'recommended', 'all' or an integer in [0, {len(blocks)}], the number of the "
            f"backbone's blocks {names!r}, but got {unfreeze_depth!r}."
        )
    return len(blocks) - unfreeze_depth
