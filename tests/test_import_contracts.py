"""What imports what: the declared layers, what an import costs, and what a user's own modules may shadow."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "optuna", "mlflow", "pandas")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROIN_HOME": str(cwd / "state")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_every_import_contract_is_kept(tmp_path: Path) -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=sys.argv[1]))"
    done = run("-c", code, str(tmp_path), cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_every_package_is_installed() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("search", "lightning_modules", "studies")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(settings["options"]["packages"].split()) == there


@pytest.mark.parametrize("module", ["search", "search.cli.main", "lightning_modules", "search.messages", "studies"])
def test_import_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = run("-P", "-c", code, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_reading_studies_loads_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    code = f"""
import sys
import search
assert search.list_studies() == []
print(sorted(set({HEAVY!r}) & set(sys.modules) - {{"optuna"}}))
"""
    done = run("-P", "-c", code, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def write_shadows(directory: Path, *names: str) -> None:
    for name in names:
        (directory / f"{name}.py").write_text("raise ImportError('the wrong one')\n")
    (directory / "studies").mkdir()
    (directory / "studies" / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    (directory / "studies" / "mine.yaml").write_text("study: mine\nseeed: 0\n")


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["zeroin", "module"])
def test_a_users_own_modules_shadow_nothing(entry: str, tmp_path: Path) -> None:
    # `python -m search` runs what Python finds first, the working directory's own `search.py`, unless told -P.
    write_shadows(tmp_path, "lightning_modules", "json", "types", "queue", "search")
    script = "import sys; from search.cli.main import main; main()"
    command = {"zeroin": ["-P", "-c", script], "module": ["-P", "-m", "search"]}[entry]
    for arguments in (["run", "studies/mine.yaml"], ["run", "no-such-study"]):
        done = run(*command, *arguments, cwd=tmp_path)
        assert "the wrong one" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        assert done.returncode == 2
    assert "digits" in done.stderr  # the built-in studies are ours, not those beside the user's own


@pytest.mark.slow
def test_a_users_own_studies_shadow_nothing_of_python_dash_m(tmp_path: Path) -> None:
    write_shadows(tmp_path, "lightning_modules")
    done = run("-m", "search", "run", "studies/mine.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "mine.yaml:2: " in done.stderr
    assert "Did you mean 'seed'" in done.stderr
    done = run("-m", "search", "run", "no-such-study", cwd=tmp_path)
    assert done.returncode == 2
    assert "digits" in done.stderr
    assert "the wrong one" not in done.stderr
