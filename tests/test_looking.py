"""Pictures of what a refitted model has learnt to see: the worker's part, the drawing, and what goes wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from plain_study import BELL
from study_runs import run_session
from virtual_engine import Faults, VirtualEngine, usual_test

from lightning_modules import ConvNet, DigitsDataModule
from lightning_modules.callbacks.checkpoint_files import WEIGHTS_NAME
from search.messages import LookAssignment, ModelAssembly, TestAssignment, TestResult, Views
from search.paths import StateDirectory, StudyPaths
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain
from search.tracking.pictures import pictures_of
from search.worker.looking import look_inside

MODEL = {"in_channels": 1, "n_classes": 10, "widths": [3, 5]}
NOTHING: Mapping[str, Any] = {"filters": (), "maps": {}, "images": (), "saliency": (), "confusion": ()}


ASSEMBLY = ModelAssembly(
    model_class="lightning_modules.ConvNet",
    model_args=MODEL,
    data_class="lightning_modules.DigitsDataModule",
    data_args={},
    trainer_args={},
    monitor="val_acc",
    maximize=True,
    data_seed=0,
)


def looked_at(tmp_path: Path, net: ConvNet) -> Views:
    torch.save(net.state_dict(), tmp_path / WEIGHTS_NAME)
    return look_inside(LookAssignment(assembly=ASSEMBLY, directory=str(tmp_path)))


def test_a_worker_shows_the_weights_of_the_refit_on_validation_images(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = ConvNet(**MODEL)
    views = looked_at(tmp_path, net)
    assert (views.error, views.notices) == ("", ())
    first = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d))
    np.testing.assert_allclose(views.filters, first.weight.detach().numpy(), atol=1e-3)
    data = DigitsDataModule()
    images, labels = next(iter(data.val_dataloader()))
    np.testing.assert_allclose(views.images, images[:8].numpy(), atol=1e-3)
    assert views.labels == labels[:8].tolist()
    with torch.no_grad():
        assert views.predicted == net.eval()(images[:8]).argmax(1).tolist()
    assert [np.shape(maps) for maps in views.maps.values()] == [(3, 8, 8), (5, 4, 4)]
    assert np.shape(views.saliency) == (8, 8, 8)


def test_weights_that_are_missing_are_told(tmp_path: Path) -> None:
    views = look_inside(LookAssignment(assembly=ASSEMBLY, directory=str(tmp_path)))
    assert "there are no weights" in views.error


@pytest.mark.slow
def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    views = looked_at(tmp_path, ConvNet(**MODEL))
    seen = {name: getattr(views, name) for name in ("filters", "maps", "images", "saliency", "labels", "predicted")}
    drawn = pictures_of({**seen, "confusion": [[3, 1], [0, 4]]})
    first, last = views.maps
    assert set(drawn) == {
        *("filters.png", "saliency.png", "confusion.png"),
        *(f"feature_maps_{first}.png", f"feature_maps_{last}.png"),
    }
    for content in drawn.values():
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
        assert min(pixels.shape) > 50
        assert pixels.std() > 1.0
    assert pictures_of(NOTHING) == {}


@pytest.mark.slow
def test_filters_of_colours_are_coloured_and_many_classes_are_not_written_out() -> None:
    colours = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    drawn = pictures_of({**NOTHING, "filters": colours.tolist(), "confusion": np.eye(40, dtype=int).tolist()})
    red, green, _ = np.asarray(Image.open(io.BytesIO(drawn["filters.png"])).convert("RGB")).reshape(-1, 3).T
    assert np.any(red != green)
    assert set(drawn) == {"filters.png", "confusion.png"}


def definition() -> StudyDefinition:
    stages = [{"name": "only", "n_trials": 2, "max_epochs": 2, "sampler": "random"}]
    return definition_from_plain({**BELL, "stages": stages, "finish": {"top_k": 1, "n_seeds": 1}})


@pytest.mark.usefixtures("untracked")
def test_a_worker_that_dies_over_it_costs_the_pictures_alone(state: StateDirectory) -> None:
    record = run_session(state, VirtualEngine(faults=Faults(dies_of={LookAssignment: 3})), definition())
    assert record.result is not None and record.result.n_test_readings == 1
    assert any("no pictures of the model" in notice for notice in record.result.notices)


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("is_lost", [True, False])
def test_the_confusion_matrix_does_not_depend_on_the_look(state: StateDirectory, is_lost: bool) -> None:
    def test(assignment: TestAssignment) -> TestResult:
        return replace(usual_test(assignment), confusion=([3, 1], [0, 4]))

    paths = state.study("bell")
    paths.directory.mkdir(parents=True)
    paths.write_views("what another finish has left")
    faults = Faults(dies_of={LookAssignment: 3 if is_lost else 0})
    run_session(state, VirtualEngine(faults=faults, test=test), definition())
    seen = json.loads(paths.views.read_text())
    assert seen["confusion"] == [[3, 1], [0, 4]]
    assert set(pictures_of(seen)) == {"confusion.png"}


@pytest.mark.usefixtures("untracked")
def test_pictures_that_cannot_be_kept_cost_the_study_nothing(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(paths: StudyPaths, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StudyPaths, "write_views", full)
    record = run_session(state, VirtualEngine(), definition())
    assert record.result is not None
    assert any("No space left on device" in notice for notice in record.result.notices)
