"""A state directory that cannot be written: one message, exit code 2, and nothing is created anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine
from full_disk import mounted
from study_runs import run_session
from test_coordinator import definition
from virtual_engine import VirtualEngine

from search.errors import StateError
from search.paths import StateDirectory

STUDY = """
study: small
seed: 5
model: {class_path: lightning_modules.ConvNet, init_args: {in_channels: 1, n_classes: 10}}
data: {class_path: lightning_modules.DigitsDataModule}
objective: {monitor: val_acc, direction: maximize}
space: {model.learning_rate: {log: [1.0e-3, 1.0e-1]}}
stages: [{name: only, n_trials: 1, max_epochs: 1}]
"""


def refused(zeroin: CommandLine, *options: str) -> str:
    """Run the study, which must be refused before anything else happens, and return the message."""
    (zeroin.directory / "small.yaml").write_text(STUDY)
    before = sorted(zeroin.directory.rglob("*"))
    done = zeroin.run("run", "small.yaml", "--devices", "cpu:1", "--plain", *options)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert sorted(zeroin.directory.rglob("*")) == before
    return done.stderr


@pytest.mark.slow
def test_a_file_where_the_state_directory_should_be(tmp_path: Path) -> None:
    zeroin = CommandLine(directory=tmp_path)
    zeroin.home.write_text("in the way")
    message = refused(zeroin)
    assert (
        f"the state directory cannot be written: {zeroin.home}/trials/small: {zeroin.home} is no directory" in message
    )
    assert "ZEROIN_HOME" in message


@pytest.mark.slow
def test_a_read_only_file_system(tmp_path: Path) -> None:
    zeroin = CommandLine(directory=tmp_path)
    with mounted(zeroin.home, options="ro"):
        assert f"{zeroin.home} is not writable, or its file system is read-only" in refused(zeroin)


@pytest.mark.parametrize("storage", ["blocked/optuna.journal", "sqlite:///blocked/optuna.db"])
def test_a_storage_that_cannot_be_made(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("blocked").write_text("in the way")
    state, study = StateDirectory(root=tmp_path / "mlruns"), definition()
    engine = VirtualEngine()
    with pytest.raises(StateError, match=r"the Optuna storage .* cannot be written: .*blocked is no directory\.$"):
        run_session(state, engine, study, storage=storage)
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]
