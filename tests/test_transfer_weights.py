from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from digits_backbone import BACKBONE as DIGITS_BACKBONE
from digits_backbone import CLASSES, NAME, quiet_trainer, trained_net
from small_transfer import BACKBONE, HEAD, make_loader, source_net, transfer_net, weights_at

from lightning_modules import ConvNet, DigitsDataModule, TransferNet, recommended_transfer
from lightning_modules.callbacks.epoch_checkpoint import EpochCheckpoint, load_checkpoint, save_weights
from lightning_modules.pretrained import shipped_weights
from lightning_modules.transfer.recommended import FEW_IMAGES
from search.coordinator.assembly import assemble as assembly_of
from search.study_file import built_in_studies, load_study_file
from search.worker.assembly import assemble


def _fitted(net: ConvNet, *callbacks: pl.Callback) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(net, make_loader(), make_loader())
    return trainer


def _state_dict(net: ConvNet, path: Path) -> Path:
    torch.save(net.network.state_dict(), path / "weights")
    return path / "weights"


def _of_the_module(net: ConvNet, path: Path) -> Path:
    torch.save(net.state_dict(), path / "module.pt")
    return path / "module.pt"


def _compiled_in_parallel(net: ConvNet, path: Path) -> Path:
    state = {f"module._orig_mod.network.{name}": each for name, each in net.network.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, path / "parallel.pth")
    return path / "parallel.pth"


def _of_lightning(net: ConvNet, path: Path) -> Path:
    _fitted(net).save_checkpoint(path / "lightning.ckpt")
    return path / "lightning.ckpt"


def _of_a_trial(net: ConvNet, path: Path) -> Path:
    _fitted(net, EpochCheckpoint(path))
    return path


def _of_a_refit(net: ConvNet, path: Path) -> Path:
    _fitted(source_net(n_classes=4), EpochCheckpoint(path))
    save_weights(path / "weights.pt", net.state_dict())
    return path


@pytest.mark.parametrize(
    "write", [_state_dict, _of_the_module, _compiled_in_parallel, _of_lightning, _of_a_trial, _of_a_refit]
)
def test_a_backbone_comes_from_every_kind_of_file(write: Callable[[ConvNet, Path], Path], tmp_path: Path) -> None:
    source = source_net(n_classes=4)
    net = transfer_net(str(write(source, tmp_path)))
    expected = source.network.state_dict()
    for name, tensor in net.network.state_dict().items():
        assert name.startswith(HEAD) or torch.equal(tensor, expected[name]), name
    assert not torch.equal(net.network.state_dict()[f"{HEAD}.weight"], expected[f"{HEAD}.weight"])


@pytest.mark.parametrize(("n_source", "n_target"), [(3, 1), (1, 3), (1, 1), (3, 3)])
def test_grey_and_colour_images_are_what_they_were_to_the_backbone(
    n_source: int, n_target: int, tmp_path: Path
) -> None:
    source = source_net(in_channels=n_source).network.eval()
    net = transfer_net(weights_at(tmp_path / "a.pt", in_channels=n_source), in_channels=n_target).network.eval()
    images = torch.randn(5, n_target, 8, 8)
    same = images if n_source == n_target else images.expand(-1, 3, -1, -1) if n_source == 3 else images.mean(1, True)
    torch.testing.assert_close(net.features(images), source.features(same), rtol=1e-4, atol=1e-4)


class Opened:
    """Tells when it is unpickled, which must never be."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("opened"),))


def _cannot_be_read(path: Path) -> str:
    torch.save({"state_dict": source_net().state_dict(), "hyper_parameters": Opened()}, path)
    return str(path)


def _holds_no_weights(path: Path) -> str:
    torch.save({"epoch": 3}, path)
    return str(path)


def _is_no_checkpoint(path: Path) -> str:
    path.write_text("weights")
    return str(path)


def _of_another_network(path: Path) -> str:
    torch.save(torch.nn.LSTM(2, 3).state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: str(path), r"`weights` must be an existing file or one of \['digits-0-to-4'\].*no file /"),
        (lambda path: "", "`weights` must be a file's path or a name, but got ''"),
        (_cannot_be_read, "weights_only=True: save the state_dict alone"),
        (_is_no_checkpoint, r"`weights`: .*weights cannot be read"),
        (_holds_no_weights, "`weights` must hold a state_dict, names with tensors"),
        (_of_another_network, r"has no weight of this backbone: expected names such as features\.0.* got weight_ih_l0"),
        (
            lambda path: weights_at(path, widths=[4, 7, 8]),
            r"does not fit the backbone ConvNetwork: features\.1\.0\.weight: expected \(6, 4, 3, 3\), but got "
            r"\(7, 4, 3, 3\); .*; and \d+ more\. `backbone` must be made",
        ),
        (
            lambda path: weights_at(path, widths=[4, 6]),
            r"features\.2\.0\.weight: expected \(8, 6, 3, 3\), but got noth",
        ),
        (lambda path: weights_at(path, widths=[4, 6, 8, 8]), r"features\.3\.0\.weight: expected nothing, but got \(8"),
        (
            lambda path: weights_at(path, in_channels=2),
            r"features\.0\.0\.weight: expected \(4, 1, 3, 3\), but got \(4, 2",
        ),
    ],
)
def test_weights_that_are_missing_or_do_not_fit_are_refused(
    make: Callable[[Path], str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        transfer_net(make(tmp_path / "weights"))
    assert not (tmp_path / "opened").exists()


def test_a_source_with_a_deeper_head_is_refused(tmp_path: Path) -> None:
    shallow = BACKBONE | {"init_args": {"widths": [4, 6, 8]}}
    with pytest.raises(ValueError, match=r"classifier\.4\.weight: expected nothing"):
        transfer_net(weights_at(tmp_path / "a.pt"), backbone=shallow)


@pytest.mark.parametrize("n_blocks", [1, 2, 5])
def test_the_recommendation_grows_with_the_images_and_with_their_difference(n_blocks: int) -> None:
    few, many = FEW_IMAGES - 1, FEW_IMAGES
    table = [
        [recommended_transfer(n, similar=similar, n_blocks=n_blocks) for similar in (True, False)] for n in (few, many)
    ]
    assert table == [[0, 1], [(n_blocks + 1) // 2, n_blocks]]
    with pytest.raises(ValueError, match="`n_images`"):
        recommended_transfer(0, similar=True, n_blocks=n_blocks)


def test_classes_of_digits_are_renumbered_in_their_order() -> None:
    whole, part = DigitsDataModule().load(), DigitsDataModule(classes=[7, 2, 9]).load()
    for place, digit in enumerate((7, 2, 9)):
        assert (part.images[part.labels == place] == whole.images[whole.labels == digit]).all()
    assert set(part.labels) == {0, 1, 2}
    assert part.labels.dtype == whole.labels.dtype


@pytest.mark.parametrize("classes", [[], [3], [3, 3], [1, 10], [1, -1], [1, True], ["1", "2"], 5])
def test_classes_that_are_no_digits_are_refused(classes: Any) -> None:
    with pytest.raises(ValueError, match="`classes` must be a list of at least two different digits, but got"):
        DigitsDataModule(classes=classes)


@pytest.mark.slow
def test_the_shipped_backbone_is_as_good_as_one_trained_anew() -> None:
    shipped = ConvNet(in_channels=1, n_classes=len(CLASSES), widths=DIGITS_BACKBONE["init_args"]["widths"])
    shipped.network.load_state_dict(load_checkpoint(shipped_weights()[NAME]))
    data = DigitsDataModule(classes=CLASSES)
    accuracy = quiet_trainer(max_epochs=1).test(shipped, datamodule=data, verbose=False)[0]["test_acc"]
    _, again = trained_net(max_epochs=5)
    assert accuracy > 0.97
    assert accuracy >= again - 0.01


def test_shipped_weights_have_a_name() -> None:
    net = TransferNet(in_channels=1, n_classes=5, backbone=DIGITS_BACKBONE, weights=NAME, unfreeze_depth=0)
    state = load_checkpoint(shipped_weights()[NAME])
    assert torch.equal(net.network.features[0][0].weight, state["features.0.0.weight"])


def test_the_built_in_study_makes_its_network_and_few_images() -> None:
    definition = load_study_file(built_in_studies()["digits-transfer"])
    searched = {"model.unfreeze_depth": 1, "model.backbone.init_args.dropout": 0.25}
    assembled = assemble(assembly_of(definition, searched), seed=0)
    model, data = assembled.model, assembled.data
    assert isinstance(model, TransferNet) and isinstance(data, DigitsDataModule)
    assert [len(each) for each in (data.splits.train, data.splits.val, data.splits.test)] == [54, 125, 717]
    assert (len(model.blocks), model.n_frozen) == (2, 1)
    assert [each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)] == [0.25]
    images, labels = next(iter(data.train_eval_dataloader()))
    assert torch.nn.functional.cross_entropy(model.eval()(images), labels).item() == pytest.approx(math.log(5), abs=0.2)
