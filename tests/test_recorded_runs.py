"""Runs of benchmarks: each is made once, one that fails does not keep the others from being made."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from recorded_runs import add_file_options, add_seed_options, chosen_seeds, read_runs, run_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    name: str
    sizes: Sequence[int] = (1, 2)

    def __str__(self) -> str:
        return f"the {self.name} one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    setting: Setting
    steps: Sequence[tuple[int, float]]

    def __str__(self) -> str:
        return f"{len(self.steps)} steps"


class Maker:
    """Fails at the runs that it is told to fail at."""

    def __init__(self, *, fails: Sequence[str] = (), error: type[BaseException] = ValueError) -> None:
        self._fails = fails
        self._error = error
        self.made: list[str] = []

    def __call__(self, setting: Setting) -> Run:
        self.made.append(setting.name)
        if setting.name in self._fails:
            raise self._error("no such luck")
        return Run(setting=setting, steps=((1, 0.5), (2, 0.25)))


def command(make: Maker, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_file_options(parser)
    return run_command(
        parser.parse_args(arguments), Run, settings=lambda _: [Setting(name=name) for name in "abc"], make=make,
        report=names,
    )  # fmt: skip


def names(runs: Iterable[Run]) -> str:
    return "table of " + "".join(run.setting.name for run in runs)


def test_the_runs_after_one_that_fails_are_made_and_it_alone_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.jsonl"
    assert command(Maker(fails="a"), "--output", str(file)) == 1
    told = capsys.readouterr().out
    assert "the a one failed:\n" in told
    assert "ValueError: no such luck" in told
    assert "1/3 the b one: 2 steps\n2/3 the c one: 2 steps\n" in told
    assert told.endswith("\ntable of bc\n")
    again = Maker()
    assert command(again, "--output", str(file)) == 0
    assert again.made == ["a"]
    assert capsys.readouterr().out.endswith("\ntable of abc\n")
    assert read_runs(Run, [file]) == [Maker()(Setting(name=name)) for name in "bca"]


def test_a_signal_is_no_failure_of_a_run(tmp_path: Path) -> None:
    file, make = tmp_path / "runs.jsonl", Maker(fails="b", error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        command(make, "--output", str(file))
    assert make.made == ["a", "b"]
    assert [run.setting.name for run in read_runs(Run, [file])] == ["a"]


def test_of_records_of_one_setting_the_last_one_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for file, step in zip(files, ("[1,0.5]", "[1,0.75]"), strict=True):
        file.write_text('{"setting":{"name":"a","sizes":[3]},"steps":[' + step + "]}\n")
    assert [run.steps for run in read_runs(Run, files)] == [((1, 0.75),)]
    assert command(Maker(), "--table", *map(str, files)) == 0
    assert capsys.readouterr().out == "table of a\n"


@pytest.mark.parametrize(
    "line", ["{}", "[", '{"setting":{"name":"a"}}', '{"setting":{"name":"a"},"steps":[],"more":1}']
)
def test_what_is_no_record_is_named_by_file_and_line(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"setting":{"name":"a"},"steps":[]}\n' + line + "\n")
    assert command(Maker(), "--table", str(file)) == 2
    assert f"{file}, line 2 must be the record of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        ([], [0, 1, 2]),
        (["--seeds", "2"], [0, 1]),
        (["--first-seed", "10"], [10, 11, 12]),
        (["--first-seed", "20", "--seeds", "1"], [20]),
    ],
)
def test_seeds_are_a_number_of_them_from_the_first_one_on(arguments: list[str], seeds: list[int]) -> None:
    parser = argparse.ArgumentParser()
    add_seed_options(parser, n_seeds=3, of_what="each task")
    assert list(chosen_seeds(parser.parse_args(arguments))) == seeds


@pytest.mark.parametrize(("option", "value", "least"), [("--seeds", "0", 1), ("--first-seed", "-1", 0)])
def test_a_number_that_is_too_small_is_refused(
    option: str, value: str, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_seed_options(parser, n_seeds=3, of_what="each task")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([f"{option}={value}"])
    assert f"argument {option}: must be at least {least}, but got {value}" in capsys.readouterr().err
