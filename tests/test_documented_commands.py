"""What the documents tell people to type: every `zeroin` command line is one, scripts parse, manifests are YAML."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path

import click
import pytest
import yaml

from search.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
_BLOCK = re.compile(r"```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
_COMMAND = re.compile(r"(?:^|&& |-- |entrypoint: ) *zeroin (?P<arguments>[a-z][^`\n#|&]*)", re.MULTILINE)
_PLACEHOLDERS = "…"


def blocks(language: str) -> list[str]:
    return [
        match["text"] for page in PAGES.values() for match in _BLOCK.finditer(page) if match["language"] == language
    ]


def command_lines() -> list[str]:
    """Every command line in code, inline or in a block."""
    found = []
    for page in PAGES.values():
        code = [*re.findall(r"`(zeroin [^`]+)`", page.replace("\n", " "))]
        code += [block.replace("\\\n", " ") for block in re.findall(r"```(?:bash|yaml)\n(.*?)```", page, re.DOTALL)]
        code += re.findall(r"^    (zeroin .*)$", page, re.MULTILINE)
        found += [match["arguments"].strip() for text in code for match in _COMMAND.finditer(text)]
    return sorted({each for each in found if _PLACEHOLDERS not in each})


def benchmarks() -> list[str]:
    """Every benchmark that is told, inline or in a block, with its options."""
    found = [each for page in PAGES.values() for each in re.findall(r"`python (benchmarks/[^`]+)`", page)]
    for block in blocks("bash"):
        found += re.findall(r"^python (benchmarks/.+)$", block.replace("\\\n", " "), re.MULTILINE)
    return sorted(set(found))


def test_there_is_something_to_check() -> None:
    assert len(command_lines()) > 20
    assert len(benchmarks()) > 15
    assert len(blocks("bash")) > 5 and len(blocks("yaml")) > 3


@pytest.mark.parametrize("line", command_lines())
def test_a_command_line_that_is_told_has_only_commands_and_options_that_exist(line: str) -> None:
    words = shlex.split(re.sub(r"\$\(\(.*?\)\)", "8", line))
    context = click.Context(cli)
    for name in words[0].split("/"):
        command = cli.get_command(context, name)
        assert command is not None, name
        with suppress(click.MissingParameter):  # in passing, without its STUDY
            command.make_context(name, words[1:], parent=context).close()


@pytest.mark.parametrize("command", benchmarks())
def test_a_benchmark_that_is_told_is_there_and_knows_its_options(command: str) -> None:
    file, *words = shlex.split(command, comments=True)
    source = (ROOT / file).read_text()
    if "from recorded_runs import" in source:
        source += (ROOT / "benchmarks" / "recorded_runs.py").read_text()
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []


def test_an_option_that_does_not_exist_would_be_found() -> None:
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    with pytest.raises(click.NoSuchOption):
        command.make_context("run", ["digits", "--gpus", "4"])


@pytest.mark.parametrize("script", blocks("bash"))
def test_a_script_parses(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_parses(text: str) -> None:
    assert [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
