"""Backbones and weights of torchvision; nothing is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from small_transfer import fit

from lightning_modules import TransferNet
from lightning_modules.transfer.backbone import head_name
from lightning_modules.transfer.blocks import backbone_blocks

RESNET = "torchvision.models.resnet18"
CACHED = "hub/checkpoints/resnet18-f37072fd.pth"


def resnet_state() -> dict[str, torch.Tensor]:
    from torchvision.models import resnet18

    torch.manual_seed(3)
    return dict(resnet18().state_dict())


def net_from(weights: str, **changed: Any) -> TransferNet:
    arguments: dict[str, Any] = {"in_channels": 1, "n_classes": 4, "backbone": RESNET, "unfreeze_depth": 1}
    return TransferNet(**(arguments | changed), weights=weights)


@pytest.mark.vision
def test_a_resnet_from_a_local_file_trains_its_last_block(tmp_path: Path) -> None:
    before = resnet_state()
    torch.save(before, tmp_path / "resnet18.pth")
    net = net_from(str(tmp_path / "resnet18.pth"), head_epochs=0)
    fit(net, max_epochs=1)
    after = net.network.state_dict()
    assert torch.equal(after["conv1.weight"], before["conv1.weight"].sum(dim=1, keepdim=True))
    changed = {name.partition(".")[0] for name in before if before[name].shape != after[name].shape}
    assert changed == {"conv1", "fc"}
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"conv1", "layer4", "fc"}


@pytest.mark.vision
def test_weights_by_name_are_those_that_were_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / CACHED).parent.mkdir(parents=True)
    torch.save(resnet_state(), tmp_path / CACHED)
    net = net_from("IMAGENET1K_V1", in_channels=3)
    assert torch.equal(net.network.state_dict()["conv1.weight"], resnet_state()["conv1.weight"])


@pytest.mark.vision
def test_without_a_network_the_error_says_where_the_file_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(ValueError, match=rf"cannot be downloaded from https://.*no route.* at {tmp_path / CACHED}"):
        net_from("IMAGENET1K_V1")


@pytest.mark.vision
@pytest.mark.parametrize("backbone", [RESNET, {"class_path": "torchvision.models.ResNet"}])
def test_unknown_weights_and_networks_are_refused(backbone: Any) -> None:
    message = r"one of \['digits-0-to-4', 'IMAGENET1K_V1'" if backbone == RESNET else "ResNet' cannot be made"
    with pytest.raises(ValueError, match=message):
        net_from("IMAGENET1K_V7", backbone=backbone)


@pytest.mark.vision
@pytest.mark.parametrize(
    ("name", "head", "blocks"),
    [
        ("resnet50", "fc", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        (
            "vgg11_bn",
            "classifier.6",
            [*(f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)), "classifier.0", "classifier.3"],
        ),
        ("alexnet", "classifier.6", [*(f"features.{i}" for i in (0, 3, 6, 8, 10)), "classifier.1", "classifier.4"]),
        ("efficientnet_b0", "classifier.1", [f"features.{i}" for i in range(9)]),
        ("convnext_tiny", "classifier.2", [f"features.{i}" for i in range(8)]),
    ],
)
def test_blocks_are_what_one_would_freeze(name: str, head: str, blocks: list[str]) -> None:
    from torchvision import models

    with torch.device("meta"):
        network = models.get_model(name)
    assert head_name(network) == head
    found = backbone_blocks(network, head=head)
    assert [block.name for block in found] == blocks
    of_blocks = [each for block in found for part in block.modules for each in network.get_submodule(part).parameters()]
    of_head = list(network.get_submodule(head).parameters())
    assert len({id(each) for each in of_blocks}) + len(of_head) == len(of_blocks) + len(of_head)
    of_head += of_blocks
    assert {id(each) for each in of_head} == {id(each) for each in network.parameters()}


def test_without_torchvision_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match=r"cannot be imported: .*torchvision.*pip install 'zeroin\[vision\]'"):
        net_from("IMAGENET1K_V1")
