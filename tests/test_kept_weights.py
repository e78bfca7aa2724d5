"""Weights that a refit keeps beside its final ones: in its checkpoints, after a kill, behind a URL, in the test."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from few_images import N_CLASSES, FewImages, trainer
from small_training import Coordinator, assembly, assignment

from lightning_modules import ConvNet
from lightning_modules.training.schedulers import ScheduleSettings, cycle_ends
from search.messages import Action, ModelAssembly, PackageAssignment, TestAssignment
from search.model_package import DATA
from search.worker import packaged_model
from search.worker.packaging import package_model
from search.worker.test_reading import read_test
from search.worker.training import train

CYCLIC: dict[str, Any] = {
    "in_channels": 1,
    "n_classes": N_CLASSES,
    "widths": [4],
    "lr_schedule": "cyclic",
    "lr_cycles": 2,
    "learning_rate": 0.05,
}


def made(**changed: Any) -> ModelAssembly:
    return assembly(ConvNet, FewImages, model_args=CYCLIC | changed)


def refit(directory: Path, **changed: Any) -> Any:
    """Train four epochs, and say with what they are described."""
    directory.mkdir(exist_ok=True)
    given = {"assembly": made(), "merge_validation": True, "n_epochs": 4, "horizon_epochs": 4, "resume": True}
    return assignment(directory, **(given | changed))


def snapshots(directory: Path) -> dict[str, dict[str, torch.Tensor]]:
    kept: dict[str, dict[str, torch.Tensor]] = torch.load(directory / "snapshots.pt", weights_only=True)
    return kept


def weights(directory: Path) -> dict[str, torch.Tensor]:
    final: dict[str, torch.Tensor] = torch.load(directory / "weights.pt", weights_only=True)
    return final


def are_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("settings", "n_steps", "ends"),
    [
        (ScheduleSettings(name="cyclic", decay=0.1, n_cycles=4), 20, (5, 10, 15, 20)),
        (ScheduleSettings(name="cyclic", decay=0.1, n_cycles=3), 20, (7, 14, 20)),
        (ScheduleSettings(name="cyclic", decay=0.1, n_cycles=2, warmup_epochs=1.0), 20, (12, 20)),
        (ScheduleSettings(name="cyclic", decay=0.1, n_cycles=4), 2, (1, 2)),
        (ScheduleSettings(name="cosine", decay=0.1, n_cycles=4), 20, ()),
    ],
)
def test_cycles_end_before_the_step_that_begins_again(
    settings: ScheduleSettings, n_steps: int, ends: tuple[int, ...]
) -> None:
    assert cycle_ends(settings, n_steps=n_steps, max_epochs=5) == ends


class Rates(pl.Callback):
    """The learning rate of each optimizer step."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.used.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("changed", [{}, {"lr_cycles": 3}, {"lr_cycles": 5, "warmup_epochs": 0.5}])
def test_learning_rates_rise_after_a_cycle_has_ended_and_at_no_other_time(changed: dict[str, Any]) -> None:
    rates, net = Rates(), ConvNet(**(CYCLIC | changed))
    fitted = trainer(callbacks=[rates], max_epochs=4)
    fitted.fit(net, FewImages())
    *ends, last = net.learning_rate_cycle_ends()
    n_warmup = round(changed.get("warmup_epochs", 0) * len(rates.used) / 4)
    rises = [step for step in range(n_warmup + 1, len(rates.used)) if rates.used[step] > rates.used[step - 1]]
    assert rises == ends
    assert last == len(rates.used) == fitted.global_step


@pytest.mark.parametrize(
    ("keeps", "n_kept"), [({"keeps_cycle_ends": True}, 1), ({"keeps_last_epochs": 3}, 2), ({"keeps_last_epochs": 9}, 3)]
)
def test_a_killed_refit_has_kept_the_same_in_the_end(keeps: dict[str, Any], n_kept: int, tmp_path: Path) -> None:
    whole, killed, ended = (tmp_path / name for name in ("whole", "killed", "ended"))
    assert train(refit(whole, **keeps), Coordinator()).error == ""
    kept = snapshots(whole)
    assert len(kept) == n_kept
    assert not any(are_equal(each, weights(whole)) for each in kept.values())
    # Told to pause is as good as killed: a checkpoint of three epochs is all that is there.
    train(refit(killed, **keeps), Coordinator({3: Action.PAUSE}))
    assert not (killed / "snapshots.pt").exists()
    train(refit(killed, n_epochs_reported=3, **keeps), Coordinator())
    # Killed after its last checkpoint, before it wrote its weights.
    train(refit(ended, **keeps), Coordinator())
    for name in ("snapshots.pt", "weights.pt"):
        (ended / name).unlink()
    train(refit(ended, n_epochs_reported=4, **keeps), Coordinator())
    for directory in (killed, ended):
        again = snapshots(directory)
        assert list(again) == list(kept)
        assert all(are_equal(again[number], kept[number]) for number in kept)
        assert are_equal(weights(directory), weights(whole))


def test_a_refit_that_ends_within_a_cycle_keeps_those_that_ended_before(tmp_path: Path) -> None:
    train(refit(tmp_path / "a", keeps_cycle_ends=True, n_epochs=3), Coordinator())
    assert len(snapshots(tmp_path / "a")) == 1
    train(refit(tmp_path / "b", keeps_cycle_ends=True, n_epochs=1), Coordinator())
    assert snapshots(tmp_path / "b") == {}
    cosine = made(lr_schedule="cosine")
    train(refit(tmp_path / "c", keeps_cycle_ends=True, assembly=cosine, n_epochs=2), Coordinator())
    assert snapshots(tmp_path / "c") == {}
    train(refit(tmp_path / "d", keeps_cycle_ends=True, n_epochs=1, merge_validation=False), Coordinator())
    assert not (tmp_path / "d" / "snapshots.pt").exists()


def predictions(net: ConvNet, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of the test images, and their labels."""
    data = FewImages()
    data.setup("test")
    net.load_state_dict(state)
    batches = list(data.test_dataloader())
    with torch.no_grad():
        probabilities = torch.cat([net.eval()(x).double().softmax(dim=1) for x, _ in batches])
    return probabilities, torch.cat([y for _, y in batches])


@pytest.mark.parametrize("is_remote", [False, True])
def test_what_was_kept_reads_the_test_split_with_the_final_weights(is_remote: bool, tmp_path: Path) -> None:
    directories = [tmp_path / "refit-seed0", tmp_path / "refit-seed1"]
    urls = [str(tmp_path / "store" / each.name) for each in directories] if is_remote else []
    for seed, directory in enumerate(directories):
        url = urls[seed] if urls else ""
        assert train(refit(directory, seed=seed, keeps_last_epochs=2, checkpoints=url), Coordinator()).error == ""
    members = [state for each in directories for state in (*snapshots(each).values(), weights(each))]
    order = TestAssignment(
        assembly=made(),
        trial_keys=("refit-seed0", "refit-seed1"),
        directories=("/not/here",) * 2 if is_remote else tuple(map(str, directories)),
        ensemble=True,
        checkpoints=tuple(urls),
        has_snapshots=True,
    )
    read = read_test(order)
    assert (read.error, read.notices, read.sizes, len(read.members)) == ("", (), (2, 2), 4)
    found = [predictions(ConvNet(**CYCLIC), each) for each in members]
    labels = found[0][1]
    each = [probabilities for probabilities, _ in found]
    groups = [*([one] for one in each), each[:2], each[2:], each]
    expected = [torch.stack(group).mean(dim=0) for group in groups]
    scores = [*read.scores, *read.ensembles, read.ensemble]
    for score, mean in zip(scores, expected, strict=True):
        assert score["test_acc"] == pytest.approx((mean.argmax(dim=1) == labels).double().mean().item())
        assert score["test_loss"] == pytest.approx(torch.nn.functional.nll_loss(mean.log(), labels).item(), rel=1e-5)
    assert [score["test_acc"] for score in read.members] == pytest.approx([score["test_acc"] for score in read.scores])
    alone = read_test(replace(order, has_snapshots=False))
    assert (alone.sizes, alone.members) == ((1, 1), (read.members[1], read.members[3]))


def test_configurations_of_different_widths_read_the_test_split_together(tmp_path: Path) -> None:
    arguments = (CYCLIC, CYCLIC | {"widths": [8], "lr_schedule": "cosine"})
    for index, each in enumerate(arguments):
        train(refit(tmp_path / str(index), assembly=made(**each), n_epochs=1), Coordinator())
    directories = tuple(str(tmp_path / str(index)) for index in range(2))
    order = TestAssignment(
        assembly=made(), trial_keys=("a", "b"), directories=directories, ensemble=True, model_args=arguments
    )
    read = read_test(order)
    assert (read.error, read.notices, read.sizes) == ("", (), (1, 1))
    assert read.ensemble.keys() == {"test_acc", "test_loss"}
    assert "size mismatch" in read_test(replace(order, model_args=())).error


class Undecided(ConvNet):
    """Takes another way for some images than for others, which no exported program can."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits if float(images.sum()) > 0.0 else logits - 1.0


@pytest.mark.slow
@pytest.mark.parametrize("model", [ConvNet, Undecided])
def test_packages_hold_all_members_each_made_with_its_own_arguments(model: type[ConvNet], tmp_path: Path) -> None:
    arguments = (CYCLIC, CYCLIC | {"widths": [8], "lr_schedule": "cosine"})
    directories = tuple(str(tmp_path / str(index)) for index in range(2))
    for directory, each in zip(directories, arguments, strict=True):
        made_of = assembly(model, FewImages, model_args=each)
        train(refit(Path(directory), assembly=made_of, keeps_cycle_ends=True), Coordinator())
    order = PackageAssignment(
        assembly=assembly(model, FewImages, model_args=CYCLIC),
        trial_keys=("a", "b"),
        directories=directories,
        file=str(tmp_path / "model.zip"),
        model_args=arguments,
        has_snapshots=True,
    )
    result = package_model(order)
    assert (result.error, result.is_packaged) == ("", True)
    zipfile.ZipFile(tmp_path / "model.zip").extractall(tmp_path / "unpacked")
    data = FewImages()
    images = data.load().images[:5]
    narrow, wide = map(Path, directories)
    states = [*((0, each) for each in snapshots(narrow).values()), (0, weights(narrow)), (1, weights(wide))]
    assert len(states) == 3
    expected = []
    for index, state in states:
        net = model(**arguments[index]).eval()
        net.load_state_dict(state)
        with torch.no_grad():
            expected.append(net(data.preprocessing(torch.from_numpy(images))).double().softmax(dim=1))
    found = packaged_model.load(tmp_path / "unpacked" / DATA).probabilities(images)
    assert torch.allclose(torch.as_tensor(found), torch.stack(expected).mean(dim=0), atol=1e-6)
