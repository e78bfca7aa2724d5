from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from small_transfer import BLOCKS, HEAD, fit, make_loader, source_net, transfer_net, weights_at
from torch import Tensor, nn

from lightning_modules.arguments import ArgumentError
from lightning_modules.callbacks.checkpoint_files import CHECKPOINT_NAME
from lightning_modules.callbacks.epoch_checkpoint import EpochCheckpoint
from lightning_modules.networks.drop_connect import DropConnectLinear
from lightning_modules.training.monte_carlo_dropout import dropout_on


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return weights_at(tmp_path / "source.pt")


class Snapshots(pl.Callback):
    """The network's state before the training and after each epoch, and how it was made up in the epoch's middle."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.with_gradient: list[set[str]] = []
        self.training: list[set[str]] = []

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        self._keep(module)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Any) -> None:
        # Callbacks are called before the module; what it drops then has no effect on the step, which others test.
        named = module.network.named_parameters()
        self.with_gradient.append({_part(name) for name, each in named if each.grad is not None})
        modes = module.network.named_modules()
        self.training.append({_part(name) for name, each in modes if each.training and name.count(".")})

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        self._keep(module)

    def _keep(self, module: Any) -> None:
        self.states.append({name: each.clone() for name, each in module.network.state_dict().items()})

    def changed(self, first: int, last: int) -> set[str]:
        """Parts of which a weight or a statistic changed between two of the states."""
        pairs = zip(self.states[first].items(), self.states[last].values(), strict=True)
        return {_part(name) for (name, before), after in pairs if not torch.equal(before, after)}


def _part(name: str) -> str:
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize(
    ("depth", "optimizer"), [(0, "adamw"), (1, "nesterov"), (3, "adamw"), (4, "sgd"), ("all", "adamw")]
)
def test_only_the_head_and_the_last_blocks_train(depth: int | str, optimizer: str, weights: str) -> None:
    net = transfer_net(weights, unfreeze_depth=depth, head_epochs=0, optimizer=optimizer, weight_decay=0.1)
    seen = Snapshots()
    trainer = fit(net, seen, max_epochs=2)
    trained = {*BLOCKS[4 - depth :], HEAD} if isinstance(depth, int) else {*BLOCKS, HEAD}
    assert seen.changed(0, -1) == trained
    assert all(parts == trained for parts in seen.with_gradient)
    # Between the last block and the head, dropout trains with the head.
    assert all(parts & {*BLOCKS, HEAD, "classifier.3"} == trained | {"classifier.3"} for parts in seen.training)
    optimized = [each for group in trainer.optimizers[0].param_groups for each in group["params"]]
    assert len(optimized) == len({id(each) for each in optimized})
    of_network = dict(net.network.named_parameters())
    assert {_part(name) for name, each in of_network.items() if any(each is one for one in optimized)} == trained


def test_the_dropout_before_a_frozen_layer_is_off(weights: str) -> None:
    net = transfer_net(weights, unfreeze_depth=0, backbone=_with_dropout(0.5)).train()
    images = torch.randn(4, 1, 8, 8)
    torch.manual_seed(0)
    hidden = [net.network.classifier[:3](net.network.features(images).mean(dim=(2, 3))) for _ in range(2)]
    assert torch.equal(*hidden)
    assert not torch.equal(net(images), net(images))  # the head's is on
    with dropout_on(net.eval()):
        assert torch.equal(*(net.network.classifier[:3](net.network.features(images).mean(dim=(2, 3))) for _ in "ab"))
        assert not torch.equal(net(images), net(images))
    assert not any(each.training for each in net.modules())


def test_the_new_head_drops_what_the_network_s_own_would(tmp_path: Path) -> None:
    args = {"widths": [4, 6, 8], "drop_connect": 0.5, "hidden_width": 0}
    backbone = {"class_path": "lightning_modules.ConvNet", "init_args": args}
    net = transfer_net(weights_at(tmp_path / "flat.pt", hidden_width=0), backbone=backbone)
    head = net.network.get_submodule("classifier.1")
    assert isinstance(head, DropConnectLinear)
    assert head.weight.shape == (4, 8)
    assert head.p == 0.5


def _with_dropout(dropout: float) -> dict[str, Any]:
    return {
        "class_path": "lightning_modules.ConvNet",
        "init_args": {"widths": [4, 6, 8], "hidden_width": 5, "dropout": dropout},
    }


@pytest.fixture
def group_of_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a strategy for several processes leaves behind is undone."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log:UserWarning")
@pytest.mark.parametrize("strategy", ["auto", "ddp"])
def test_the_head_trains_first_and_alone(strategy: str, weights: str) -> None:
    net = transfer_net(weights, unfreeze_depth=2, head_epochs=2, optimizer="adamw", max_norm=0.5, l1_penalty=0.1)
    seen = Snapshots()
    fit(net, seen, max_epochs=3, strategy=strategy)
    assert seen.changed(0, 2) == {HEAD}
    assert seen.changed(2, 3) == {HEAD, *BLOCKS[2:]}
    assert all(not parts & set(BLOCKS) for parts in seen.training[:6])


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log:UserWarning")
def test_processes_that_train_together_do_what_one_does(weights: str) -> None:
    states = []
    for strategy in ("auto", "ddp"):
        net = transfer_net(weights, unfreeze_depth="all", head_epochs=1)
        fit(net, max_epochs=3, strategy=strategy)
        states.append(net.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, msg=name)


@pytest.mark.parametrize(("stop", "optimizer"), [(1, "adamw"), (2, "adamw"), (2, "nesterov"), (3, "nesterov")])
def test_resuming_is_exact_wherever_the_backbone_joins_in(
    stop: int, optimizer: str, weights: str, tmp_path: Path
) -> None:
    class StopAfter(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch + 1 >= stop

    def net() -> Any:
        return transfer_net(weights, unfreeze_depth=2, head_epochs=2, optimizer=optimizer)

    whole, resumed = net(), net()
    fit(whole, max_epochs=4)
    fit(net(), EpochCheckpoint(tmp_path), StopAfter(), max_epochs=4)
    fit(resumed, max_epochs=4, checkpoint=tmp_path / CHECKPOINT_NAME)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_a_second_fit_begins_with_the_head_alone(weights: str) -> None:
    net, seen = transfer_net(weights, head_epochs=1), Snapshots()
    fit(net, max_epochs=1)
    trainer = fit(net, seen, max_epochs=2)
    assert seen.changed(0, 1) == {HEAD}
    assert seen.changed(1, 2) == {HEAD, *BLOCKS}
    assert len(trainer.optimizers[0].param_groups) == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_learns_at_its_share_of_the_rate_throughout(optimizer: str, weights: str) -> None:
    rates: list[tuple[float, float]] = []

    class Rates(pl.Callback):
        def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: torch.optim.Optimizer) -> None:
            head = {id(each) for each in module.network.classifier[4].parameters()}
            by_part = [
                {group["lr"] for group in optimizer.param_groups if (id(group["params"][0]) in head) is of_head}
                for of_head in (True, False)
            ]
            assert [len(each) for each in by_part] == [1, 1]
            rates.append((by_part[0].pop(), by_part[1].pop()))
            assert optimizer.param_groups[0]["lr"] == rates[-1][0]  # what is recorded as the learning rate

    net = transfer_net(weights, optimizer=optimizer, learning_rate=0.02, backbone_lr_ratio=0.25)
    fit(net, Rates(), max_epochs=2)
    assert rates[0] == pytest.approx((0.02, 0.005))
    assert rates[-1][0] < 0.01
    assert all(backbone == pytest.approx(0.25 * head) for head, backbone in rates)


def test_at_a_ratio_of_one_no_parameter_has_a_rate_of_its_own(weights: str) -> None:
    assert not any("lr" in group for group in transfer_net(weights, backbone_lr_ratio=1.0).parameter_groups())


def test_only_weights_that_train_decay_and_biases_and_norms_do_not(weights: str) -> None:
    net = transfer_net(weights, unfreeze_depth=1, weight_decay=0.3)
    decays = {id(each): group["weight_decay"] for group in net.parameter_groups() for each in group["params"]}
    by_name = {name: decays.get(id(each)) for name, each in net.network.named_parameters()}
    assert {name: decay for name, decay in by_name.items() if decay is not None} == {
        "classifier.1.weight": 0.3,
        "classifier.1.bias": 0.0,
        "classifier.4.weight": 0.3,
        "classifier.4.bias": 0.0,
    }


def test_the_head_is_drawn_and_the_backbone_is_loaded(weights: str) -> None:
    source = source_net().network.state_dict()
    nets = [transfer_net(weights, init_gain=gain).network for gain in (1.0, 3.0)]
    for name, tensor in nets[0].state_dict().items():
        if not name.startswith(HEAD):
            assert torch.equal(tensor, source[name]), name
    assert nets[0].classifier[4].weight.shape == (4, 5)
    torch.testing.assert_close(nets[1].classifier[4].weight, 3.0 * nets[0].classifier[4].weight)


@pytest.mark.parametrize(
    ("arguments", "n_frozen"),
    [
        ({"n_train_images": 50}, 4),
        ({"n_train_images": 50, "similar": False}, 3),
        ({"n_train_images": 50_000}, 2),
        ({"n_train_images": 50_000, "similar": False}, 0),
        ({"freeze_up_to": "features.1"}, 2),
        ({"freeze_up_to": "classifier.1"}, 4),
    ],
)
def test_what_is_frozen_is_recommended_or_named(arguments: dict[str, Any], n_frozen: int, weights: str) -> None:
    net = transfer_net(weights, **arguments)
    assert net.n_frozen == n_frozen
    frozen = [each.name for each in net.blocks if not net.network.get_submodule(each.name).training]
    assert frozen == BLOCKS[:n_frozen]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unfreeze_depth": 5}, r"`unfreeze_depth` must be .* integer in \[0, 4\].*features\.0.*but got 5"),
        ({"unfreeze_depth": "everything"}, r"`unfreeze_depth` must be .* but got 'everything'"),
        ({"unfreeze_depth": True}, r"`unfreeze_depth` must be .* but got True"),
        ({"unfreeze_depth": "recommended"}, r"`n_train_images` must be given .* integer in \[0, 4\]"),
        ({"n_train_images": 0}, "`n_train_images` must be an integer >= 1, but got 0"),
        ({"freeze_up_to": "features.7"}, r"`freeze_up_to` must be a block .*'features\.2'.* but got 'features\.7'"),
        ({"freeze_up_to": "features.1", "unfreeze_depth": 1}, "Of `unfreeze_depth` and `freeze_up_to` one"),
        ({"head_epochs": -1}, "`head_epochs`"),
        ({"backbone_lr_ratio": 0.0}, r"`backbone_lr_ratio` must be a number in \(0, 1\]"),
        ({"backbone_lr_ratio": 1.5}, "`backbone_lr_ratio`"),
        ({"optimizer": "lbfgs"}, r"`backbone_lr_ratio` must be 1\.0 with `optimizer` 'lbfgs'.* but got 0\.1"),
        ({"weights": ""}, "`weights` must be a file's path or a name"),
        ({"weights": "no/such/file.pt"}, "`weights` must be an existing file"),
        ({"n_classes": 1}, "`n_classes`"),
        ({"in_channels": 0}, "`in_channels`"),
        ({"learning_rate": -1.0}, "`learning_rate`"),
        ({"backbone": "ConvNet"}, "`backbone` must be a class path"),
        ({"backbone": {"class": "a.B"}}, "`backbone` must be a class path"),
        ({"backbone": "no_such_package.Net"}, "`backbone` 'no_such_package.Net' cannot be imported"),
        ({"backbone": "lightning_modules.image_classifier.Net"}, "has no 'Net'"),
        ({"backbone": {"class_path": "lightning_modules.ConvNet", "init_args": [1]}}, "`backbone.init_args`"),
        (
            {"backbone": {"class_path": "lightning_modules.ConvNet", "init_args": {"width": 3}}},
            r"cannot be made with \{'width': 3\}: .*width",
        ),
        (
            {"backbone": {"class_path": "lightning_modules.ConvNet", "init_args": {"widths": [0]}}},
            "cannot be made with .*`widths` must be an integer >= 1",
        ),
        (
            {"backbone": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 3}}},
            "with a convolution, but Linear has none",
        ),
        ({"backbone": "collections.Counter"}, "must lead to a torch module, but 'collections.Counter' made a Counter"),
        ({"backbone": "builtins.dict"}, "'builtins.dict' cannot be made with {}: no signature"),
    ],
)
def test_refuses_what_is_out_of_bounds_or_unknown(changed: dict[str, Any], message: str, weights: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        transfer_net(**({"weights": weights} | changed))


def test_images_flow_from_end_to_end_in_both_modes(weights: str) -> None:
    net = transfer_net(weights, unfreeze_depth=0)
    trainer = fit(net, max_epochs=1)
    assert set(trainer.callback_metrics) == {"train_loss", "train_acc", "val_loss", "val_acc"}
    statistics = [each for each in net.network.modules() if isinstance(each, nn.BatchNorm2d)]
    assert statistics
    assert all(int(each.num_batches_tracked) == 7 for each in statistics)
    assert net(make_loader().dataset.tensors[0]).shape == (24, 4)
