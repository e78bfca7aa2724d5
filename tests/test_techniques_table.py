"""docs/techniques.md: every line of a study file that it gives names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

import lightning_modules
from lightning_modules import ImageClassifier, PreparesImages

_TABLE = Path(__file__).resolve().parents[1] / "docs" / "techniques.md"
_PACKAGE = Path(lightning_modules.__file__).parent


def rows() -> list[list[str]]:
    lines = [line for line in _TABLE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[0] != "technique"]


def arguments(of: type) -> set[str]:
    """Init arguments of all public classes that derive from it."""
    public = [getattr(lightning_modules, name) for name in dir(lightning_modules) if name[0].isupper()]
    classes = [each for each in public if inspect.isclass(each) and issubclass(each, of)]
    return {name for each in classes for name in inspect.signature(each).parameters}


def searched_lines() -> list[str]:
    return [line for row in rows() for line in re.findall(r"`((?:model|data)\.\w+: \{.*?\})`", row[3])]


def test_every_row_has_four_cells_and_there_are_many() -> None:
    assert {len(row) for row in rows()} == {4}
    assert len(rows()) > 60


def known(name: str) -> bool:
    """Whether ``model.x`` or ``data.x`` is an init argument of a public class."""
    section, _, argument = name.partition(".")
    return argument in arguments(ImageClassifier if section == "model" else PreparesImages)


@pytest.mark.parametrize("line", searched_lines())
def test_what_is_searched_is_an_init_argument(line: str) -> None:
    ((name, entry),) = yaml.safe_load(line).items()
    section, _, argument = name.partition(".")
    names = [f"{section}.{key}" for key in entry] if argument == "init_args" else [name, *entry.get("when", {})]
    assert [each for each in names if not known(each)] == []


def test_every_file_that_is_named_exists() -> None:
    named = {name for row in rows() for name in re.findall(r"`((?:\w+/)+\w+\.py)`", row[1])}
    roots = (_PACKAGE, _PACKAGE.parent)
    assert named
    assert [name for name in sorted(named) if not any((root / name).is_file() for root in roots)] == []


def test_every_class_that_is_named_is_public() -> None:
    named = {name for row in rows() for name in re.findall(r"lightning_modules\.([A-Z]\w+)", " ".join(row))}
    assert len(named) > 10
    assert [name for name in sorted(named) if not hasattr(lightning_modules, name)] == []
