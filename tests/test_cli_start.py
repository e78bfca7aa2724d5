from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from search.cli.import_path import append_working_directory
from search.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "lightning",
    "pytorch_lightning",
    "mlflow",
    "optuna",
    "pandas",
    "pydantic",
    "rich",
    "yaml",
    "numpy",
    "scipy",
)


def zeroin(*arguments: str, cwd: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, from a directory that is not the clone."""
    command = [sys.executable, "-c", code, *arguments] if code else [sys.executable, "-m", "search", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


def needless_imports(*commands: list[str], unwanted: Iterable[str], cwd: Path) -> dict[str, list[str]]:
    """Run commands one after another in a new process; return for each what was `unwanted` and imported after it."""
    code = f"""
import json, sys
from search.cli.main import exit_code_of
imported = {{}}
for arguments in {commands!r}:
    exit_code_of(arguments)
    imported[" ".join(arguments)] = sorted({set(unwanted)!r} & set(sys.modules))
print(json.dumps(imported))
"""
    done = zeroin(cwd=cwd, code=code)
    assert done.returncode == 0, done.stderr
    imported: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    assert list(imported) == [" ".join(arguments) for arguments in commands]
    return imported


def test_answers_without_any_heavy_import(tmp_path: Path) -> None:
    imported = needless_imports(["--help"], ["--version"], ["no-such-command"], unwanted=HEAVY, cwd=tmp_path)
    assert not any(imported.values()), imported


@pytest.mark.slow
def test_help_of_a_command_needs_neither_torch_nor_mlflow_nor_optuna(tmp_path: Path) -> None:
    helps = [[command, "--help"] for command in ("init", "trials", "ranges", "ui", "run")]
    unwanted = {"torch", "pytorch_lightning", "mlflow", "optuna", "pandas"}
    imported = needless_imports(*helps, unwanted=unwanted, cwd=tmp_path)
    assert not any(imported.values()), imported


@pytest.mark.slow
def test_looking_at_studies_needs_nothing_that_only_running_them_does(tmp_path: Path) -> None:
    looks = [["list"], ["status", "digits"], ["best", "digits"]]
    unwanted = {"torch", "pytorch_lightning", "mlflow", "scipy"}
    imported = needless_imports(*looks, unwanted=unwanted, cwd=tmp_path)
    assert not any(imported.values()), imported


def test_help_lists_every_command_within_80_columns(tmp_path: Path) -> None:
    done = zeroin("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"  {command.name} " in done.stdout
        assert command.summary in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("lazy", COMMANDS, ids=lambda lazy: lazy.name)
def test_the_address_of_every_command_holds_it(lazy) -> None:
    command = lazy.load()
    assert command.name == lazy.name
    assert command.help
    assert cli.commands == {}  # nothing may be registered beside the lazy ones


def test_a_users_own_modules_do_not_shadow_ours(tmp_path: Path) -> None:
    for name in ("studies", "lightning_modules", "search"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    (tmp_path / "json.py").write_text("raise ImportError('the wrong one')\n")
    (tmp_path / "my_module.py").write_text("ANSWER = 42\n")
    code = f"""
import sys
sys.path = [entry for entry in sys.path if entry not in ("", {str(ROOT)!r})]  # found by a hook, as an editable one
sys.path.append({str(ROOT)!r})
from search.cli.import_path import append_working_directory
sys.path.remove({str(ROOT)!r})
sys.path.insert(0, "")  # where `python -m` puts the working directory
append_working_directory()
import json, lightning_modules, my_module, studies
print(my_module.ANSWER)
"""
    done = zeroin(cwd=tmp_path, code=code)
    assert done.stdout.strip() == "42", done.stderr


def test_the_working_directory_goes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/somewhere/site-packages"])
    append_working_directory()
    assert sys.path == ["/somewhere/site-packages", str(ROOT), str(tmp_path)]
    append_working_directory()
    assert sys.path == ["/somewhere/site-packages", str(ROOT), str(tmp_path)]


@pytest.mark.slow
def test_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "search", "schema"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 141
