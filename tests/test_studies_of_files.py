"""Built-in studies whose data are not here run to their ends on small files of the true formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from inner_engine import InnerEngine
from published_files import cifar10_files, write_archive, write_folders, write_mnist
from study_runs import Listener, run_session

from search.errors import StudyDefinitionError
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, load_study_file
from search.study_record import StudyState

_TINY = (
    *("stages.0.n_trials=1", "stages.1.n_trials=1", "stages.2.n_trials=1"),
    *("stages.0.max_epochs=1", "stages.1.max_epochs=1", "stages.2.max_epochs=1"),
    *("finish.top_k=1", "finish.n_seeds=1", "model.init_args.widths=[4]"),
)


def tiny(name: str, directory: Path, *overrides: str) -> StudyDefinition:
    options = (*_TINY, f"data.init_args.directory={directory}", *overrides)
    return load_study_file(built_in_studies()[name], overrides=options)


def write_cifar10(directory: Path) -> None:
    write_archive(directory / "cifar-10-python.tar.gz", "cifar-10-batches-py", cifar10_files())


def write_split_folders(directory: Path) -> None:
    write_folders(directory / "train", n=16, size=(40, 30))
    write_folders(directory / "test", n=5, size=(24, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "n_test", "overrides"),
    [
        ("mnist", write_mnist, 20, ()),
        ("cifar10", write_cifar10, 10, ()),
        (
            "imagefolder",
            write_split_folders,
            10,
            ("data.init_args.image_size=16", "data.init_args.in_memory=false"),
        ),
    ],
)
@pytest.mark.usefixtures("untracked")
def test_study_runs_to_the_end(
    name: str, write: Callable[[Path], None], n_test: int, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path / "files")
    listener = Listener()
    state = StateDirectory(root=tmp_path / "state")
    definition = tiny(name, tmp_path / "files", *overrides)
    record = run_session(state, InnerEngine(), definition, observer=listener)
    assert record.state is StudyState.FINISHED
    assert len(record.trials) == 3
    assert all("gap_acc" in trial.record.epochs[0].metrics for trial in record.trials)
    assert record.result is not None
    assert record.result.n_test_samples == n_test
    assert record.result.n_test_readings == 1
    assert listener.notices == []


@pytest.mark.parametrize("name", ["mnist", "cifar10", "imagefolder"])
@pytest.mark.usefixtures("untracked")
def test_missing_files_are_told_before_anything_is_created(name: str, tmp_path: Path) -> None:
    with pytest.raises(StudyDefinitionError) as caught:
        run_session(StateDirectory(root=tmp_path / "state"), InnerEngine(), tiny(name, tmp_path / "files"))
    assert caught.value.exit_code == 2
    assert caught.value.key == "data.init_args.directory"
    assert str(tmp_path / "files") in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("model.init_args.n_classes=9", "model.init_args.n_classes", "`n_classes` must be 10, .* but is 9"),
        ("model.init_args.in_channels=3", "model.init_args.in_channels", "`in_channels` must be 1, .* but is 3"),
    ],
)
@pytest.mark.usefixtures("untracked")
def test_a_network_for_other_data_is_refused_by_its_argument(
    override: str, key: str, message: str, tmp_path: Path
) -> None:
    write_mnist(tmp_path / "files")
    definition = tiny("mnist", tmp_path / "files", override)
    with pytest.raises(StudyDefinitionError, match=message) as caught:
        run_session(StateDirectory(root=tmp_path / "state"), InnerEngine(), definition)
    assert caught.value.key == key
    assert "Traceback" not in str(caught.value)
    assert not (tmp_path / "state").exists()
