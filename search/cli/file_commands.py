"""``zeroin init`` and ``zeroin schema``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import yaml

from search.cli.formats import strict_json
from search.errors import StateError
from search.study_file import definition_from_plain, starter_study, study_json_schema


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
def init(*, name: str, force: bool) -> None:
    """Write a starter study file, NAME.yaml, in the working directory.

    NAME may be a path (studies/mine.yaml); the study is called as the file, without directory and suffix.
    """
    file = Path(name) if Path(name).suffix in (".yaml", ".yml") else Path(f"{name}.yaml")
    # The rules of study files are asked, on a file that surely can be read: a name may also break the YAML around it.
    definition_from_plain({**yaml.safe_load(starter_study("starter")), "study": file.stem})
    text = starter_study(file.stem)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise StateError(f"{file} exists already; --force overwrites it.") from error
    except OSError as error:
        raise StateError(f"cannot write {file}: {error.strerror or error}.") from error
    click.echo(f"Wrote {file}. Name your model and data in it, then:\n")
    shown = shlex.quote(str(file))
    click.echo(f"  zeroin run {shown} --dry-run   the plan, and one batch as a check; creates nothing")
    click.echo(f"  zeroin run {shown}             the search")


@click.command()
def schema() -> None:
    """Print the JSON Schema of study files, with which editors complete and check them."""
    click.echo(strict_json(study_json_schema()), nl=False)
