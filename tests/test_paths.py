from pathlib import Path

import pytest

from search.errors import StateError
from search.paths import StateDirectory


def test_the_environment_variable_moves_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROIN_HOME", str(tmp_path / "elsewhere"))
    assert StateDirectory.default().root == tmp_path / "elsewhere"


def test_the_default_is_mlruns_under_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEROIN_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert StateDirectory.default().root == tmp_path / "mlruns"


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "x" * 101, "a b", "a\n"])
def test_names_cannot_leave_the_state_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError, match="names must be"):
        StateDirectory(root=tmp_path).study(name)
    with pytest.raises(StateError, match="names must be"):
        StateDirectory(root=tmp_path).study("fine").trial(name)


def test_a_directory_that_cannot_be_made_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = StateDirectory(root=tmp_path / "file")
    with pytest.raises(StateError, match="Set ZEROIN_HOME"):
        state.make(state.study("digits").directory)
