from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.errors import SearchError, StudyDefinitionError, StudyNotFoundError
from search.study_file import load_study_file

GOOD = """\
study: small
seed: 0
model:
  class_path: my_package.Net
  init_args:
    width: 8
data:
  class_path: my_package.Data
trainer:
  precision: 32-true
objective:
  monitor: val_acc
  direction: maximize
  gap_weight: 0.0
space:
  model.optimizer: {choice: [sgd, adamw]}
  model.learning_rate:
    log: [1.0e-5, 1.0]
    limits: [1.0e-7, 10.0]
  model.dropout: {log: [0.01, 0.8], or_zero: 0.1}
  model.depth: {int: [2, 6]}
  model.momentum:
    one_minus_log: [0.5, 0.999]
    when:
      model.optimizer: [sgd]
stages:
  - name: coarse
    n_trials: 8
    max_epochs: 1
    sampler: qmc
  - name: fine
    n_trials: 4
    max_epochs: 3
    sampler: tpe
pruner: median
early_stopping: {patience_epochs: 5}
resources: {devices_per_trial: 1}
finish: {top_k: 2, n_seeds: 2, ensemble: true}
"""

# (text replaced, its replacement, key, line, value got, expectation or way out)
BAD = [
    # names of keys
    ("study: small", "stduy: small", "stduy", 1, "'small'", "Did you mean 'study'?"),
    ("seed: 0", "sed: 0", "sed", 2, "0", "Did you mean 'seed'?"),
    ("stages:", "stagess:", "stagess", 26, "coarse", "Did you mean 'stages'?"),
    ("    n_trials: 8", "    n_trails: 8", "stages.0.n_trails", 28, "8", "Did you mean 'n_trials'?"),
    ("pruner: median", "colour: red", "colour", 35, "'red'", "the keys here are study, seed"),
    ("{patience_epochs: 5}", "{patience: 5}", "early_stopping.patience", 36, "5", "patience_epochs"),
    ("{log: [0.01", "{logg: [0.01", "space.model.dropout.logg", 20, "[0.01, 0.8]", "Did you mean 'log'?"),
    ("    when:", "    wehn:", "space.model.momentum.wehn", 24, "'model.optimizer'", "Did you mean 'when'?"),
    (
        "class_path: my_package.Net",
        "clas_path: my_package.Net",
        "model.clas_path",
        4,
        "'my_package.Net'",
        "'class_path'?",
    ),
    # missing keys
    ("seed: 0\n", "", "seed", 1, "study, model, data", "required (an integer from 0 to 4294967295)"),
    (
        "  direction: maximize\n",
        "",
        "objective.direction",
        11,
        "monitor, gap_weight",
        "required (maximize or minimize)",
    ),
    ("    max_epochs: 3\n", "", "stages.1.max_epochs", 31, "name, n_trials, sampler", "required (an integer"),
    ("{top_k: 2, n_seeds: 2", "{n_seeds: 2", "finish.top_k", 38, "n_seeds, ensemble", "required"),
    # types
    ("seed: 0", "seed: zero", "seed", 2, "'zero'", "an integer from 0"),
    ("seed: 0", "seed:", "seed", 2, "nothing", "an integer from 0"),
    ("seed: 0", "seed: true", "seed", 2, "True", "an integer from 0"),
    ("    n_trials: 8", "    n_trials: '8'", "stages.0.n_trials", 28, "'8'", "Remove the quotes."),
    ("    n_trials: 8", "    n_trials: 8.0", "stages.0.n_trials", 28, "8.0", "an integer from 1"),
    ("study: small", "study: 2024", "study", 1, "2024", "Put it in quotes."),
    ("ensemble: true", "ensemble: yes", "finish.ensemble", 38, "'yes'", "Did you mean 'true'?"),
    ("gap_weight: 0.0", "gap_weight: much", "objective.gap_weight", 14, "'much'", "a finite number >= 0"),
    ("{devices_per_trial: 1}", "1", "resources", 37, "got 1", "a mapping with the keys devices_per_trial"),
    ("{int: [2, 6]}", "[2, 6]", "space.model.depth", 21, "[2, 6]", "a mapping such as {log:"),
    ("{int: [2, 6]}", "{int: [2.0, 6]}", "space.model.depth.int.0", 21, "2.0", "an integer"),
    ("{int: [2, 6]}", "{int: 2}", "space.model.depth.int", 21, "got 2", "[low, high], two integers"),
    ("{int: [2, 6]}", "{int: [2]}", "space.model.depth.int", 21, "[2]", "[low, high], two integers"),
    ("{int: [2, 6]}", "{int: [2, 4, 6]}", "space.model.depth.int", 21, "[2, 4, 6]", "[low, high], two integers"),
    ("[sgd, adamw]", "sgd", "space.model.optimizer.choice", 16, "'sgd'", "a list with at least one entry"),
    ("[sgd, adamw]", "[]", "space.model.optimizer.choice", 16, "[]", "a list with at least one entry"),
    ("[sgd, adamw]", "[sgd, [adamw]]", "space.model.optimizer.choice.1", 16, "['adamw']", "a finite number, a string"),
    ("[sgd, adamw]", "[sgd, null]", "space.model.optimizer.choice.1", 16, "nothing", "a finite number, a string"),
    ("  init_args:\n    width: 8", "  init_args: 8", "model.init_args", 5, "got 8", "a mapping"),
    # values
    ("seed: 0", "seed: -1", "seed", 2, "-1", "from 0"),
    ("seed: 0", "seed: 4294967296", "seed", 2, "4294967296", "to 4294967295"),
    ("    n_trials: 8", "    n_trials: 0", "stages.0.n_trials", 28, "got 0", "from 1"),
    ("gap_weight: 0.0", "gap_weight: -0.5", "objective.gap_weight", 14, "-0.5", ">= 0"),
    ("gap_weight: 0.0", "gap_weight: .nan", "objective.gap_weight", 14, "nan", "a finite number"),
    ("gap_weight: 0.0", "gap_weight: .inf", "objective.gap_weight", 14, "inf", "a finite number"),
    ("gap_weight: 0.0", "gap_weight: 1e999", "objective.gap_weight", 14, "'1e999'", "fits a 64-bit float"),
    ("monitor: val_acc", "monitor: ''", "objective.monitor", 12, "''", "a string that is not empty"),
    ("maximize", "maximise", "objective.direction", 13, "'maximise'", "Did you mean 'maximize'?"),
    ("sampler: tpe", "sampler: tep", "stages.1.sampler", 34, "'tep'", "Did you mean 'tpe'?"),
    ("pruner: median", "pruner: medain", "pruner", 35, "'medain'", "Did you mean 'median'?"),
    ("pruner: median", "pruner: {name: hyperbnd}", "pruner.name", 35, "'hyperbnd'", "Did you mean 'hyperband'?"),
    (
        "pruner: median",
        "pruner: hyperbnd",
        "pruner",
        35,
        "'hyperbnd'",
        "median, percentile, asha, hyperband, wilcoxon, forecast or",
    ),
    ("pruner: median", "pruner: {name: [asha]}", "pruner.name", 35, "['asha']", "median, percentile, asha"),
    ("pruner: median", "pruner: {min_epochs: 2}", "pruner.name", 35, "only min_epochs", "is required (median, percent"),
    ("pruner: median", "pruner: 3", "pruner", 35, "3", "forecast or none or a mapping such as {name: median}"),
    (
        *("pruner: median", "pruner: {name: asha, min_epoch: 2}", "pruner.min_epoch", 35, "2"),
        "the keys here are name, min_epochs, reduction_factor. Did you mean 'min_epochs'?",
    ),
    (
        *("pruner: median", "pruner:\n  name: asha\n  n_startup_trials: 2", "pruner.n_startup_trials", 37, "2"),
        "the keys here are name, min_epochs, reduction_factor.",
    ),
    ("pruner: median", "pruner: {name: none, asha: 2}", "pruner.asha", 35, "2", "the keys here are name."),
    ("pruner: median", "pruner: {name: asha, asha: 2}", "pruner.asha", 35, "2", "the keys here are name, min_epochs"),
    ("pruner: median", "pruner: {name: asha, min_epochs: 0}", "pruner.min_epochs", 35, "0", "an integer from 1"),
    ("pruner: median", "pruner: {name: asha, reduction_factor: 1}", "pruner.reduction_factor", 35, "1", "from 2"),
    ("pruner: median", "pruner: {name: percentile, percentile: 101}", "pruner.percentile", 35, "101", "0.0 to 100.0"),
    ("pruner: median", "pruner: {name: wilcoxon, p_threshold: .nan}", "pruner.p_threshold", 35, "nan", "0.0 to 1.0"),
    ("pruner: median", "schedule_horizon: forever", "schedule_horizon", 35, "'forever'", "study or stage"),
    ("pruner: median", "narrow: box", "narrow", 35, "'box'", "quantile_box, posterior, trust_region or none"),
    (
        *("pruner: median", "narrow: {rule: posterior, probability: 0.4}", "narrow.probability", 35, "0.4"),
        "a finite number from 0.5 to 0.999",
    ),
    (
        *("pruner: median", "narrow: {rule: quantile_box, probability: 0.9}", "narrow.probability", 35, "0.9"),
        "left out unless the rule is posterior",
    ),
    (
        *("pruner: median", "end_early: nois", "end_early", 35, "'nois'"),
        "none or noise or a mapping with the keys gain_below, probability, patience_trials, min_trials, but got "
        "'nois'. Did you mean 'noise'?",
    ),
    (
        *("pruner: median", "end_early: {gain_below: x}", "end_early.gain_below", 35, "'x'"),
        "must be noise or a finite number > 0.0, but got 'x'.",
    ),
    ("pruner: median", "end_early: {gain_below: nois}", "end_early.gain_below", 35, "'nois'", "Did you mean 'noise'?"),
    ("pruner: median", "end_early: {gain_below: '0.1'}", "end_early.gain_below", 35, "'0.1'", "Remove the quotes."),
    ("pruner: median", "end_early: {gain_below: -1}", "end_early.gain_below", 35, "-1", "noise or a finite number > 0"),
    ("pruner: median", "budget: {hours: 0}", "budget.hours", 35, "0", "a finite number > 0"),
    ("pruner: median", "budget: {n_trials: 1.5}", "budget.n_trials", 35, "1.5", "an integer from 1"),
    ("pruner: median", "budget: {epochs: 0}", "budget.epochs", 35, "got 0", "an integer from 1"),
    ("pruner: median", "budget: {epochs: -5}", "budget.epochs", 35, "-5", "an integer from 1"),
    ("pruner: median", "budget: {epoch: 5}", "budget.epoch", 35, "5", "Did you mean 'epochs'?"),
    ("    n_trials: 8\n", "", "stages.0.n_trials", 27, "none", "only the last stage may have as many trials as"),
    ("    n_trials: 4\n", "", "stages.1.n_trials", 31, "none", "a budget that bounds the last stage"),
    ("    n_trials: 4", "    n_trials: null", "stages.1.n_trials", 32, "none", "(`budget: {epochs: 2600}`)"),
    ("pruner: median", "budget: {hour: 2}", "budget.hour", 35, "2", "Did you mean 'hours'?"),
    (
        "pruner: median",
        "budget: 8",
        "budget",
        35,
        "8",
        "none or a mapping with the keys hours, device_hours, n_trials, epochs",
    ),
    ("pruner: median", "storage: ''", "storage", 35, "''", "a string that is not empty"),
    ("pruner: median", "storage: optuna", "storage", 35, "'optuna'", "a journal file's path (optuna.journal)"),
    ("pruner: median", "storage: http://x/y", "storage", 35, "'http://x/y'", "a database's URL (postgresql://"),
    ("pruner: median", 'storage: "a\\0b.log"', "storage", 35, "a\\x00b.log", "printable characters"),
    ("pruner: median", 'tracking_uri: "a\\0b"', "tracking_uri", 35, "a\\x00b", "printable characters"),
    ("pruner: median", 'checkpoints: "a\\nb"', "checkpoints", 35, "a\\nb", "printable characters"),
    ("study: small", "study: ../small", "study", 1, "'../small'", "a name of 1 to 100 letters"),
    ("study: small", "study: .hidden", "study", 1, "'.hidden'", "beginning with a letter or digit"),
    ("study: small", f"study: {'x' * 101}", "study", 1, "'xxx", "1 to 100"),
    ("study: small", "study: small.yaml", "study", 1, "'small.yaml'", "not ending like a file"),
    ("width: 8", "width: .nan", "model.init_args.width", 6, "nan", "must be a number"),
    # ranges
    ("[1.0e-5, 1.0]", "[1.0, 1.0e-5]", "space.model.learning_rate.log", 18, "[1.0, 1e-05]", "0 < low < high < inf"),
    ("[1.0e-5, 1.0]", "[0, 1.0]", "space.model.learning_rate.log", 18, "[0.0, 1.0]", "or_zero"),
    ("[1.0e-5, 1.0]", "[.nan, 1.0]", "space.model.learning_rate.log.0", 18, "nan", "a finite number"),
    ("[1.0e-5, 1.0]", "[-1, 1.0]", "space.model.learning_rate.log", 18, "[-1.0, 1.0]", "0 < low"),
    ("[1.0e-5, 1.0]", "[low, 1.0]", "space.model.learning_rate.log.0", 18, "'low'", "a finite number"),
    ("[1.0e-7, 10.0]", "[1.0e-4, 10.0]", "space.model.learning_rate.limits", 19, "[0.0001, 10.0]", "within its limits"),
    ("[1.0e-7, 10.0]", "[1.0e-7]", "space.model.learning_rate.limits", 19, "[1e-07]", "[low, high], two numbers"),
    ("[1.0e-7, 10.0]", "[a, b]", "space.model.learning_rate.limits", 19, "['a', 'b']", "[low, high], two numbers"),
    ("[0.5, 0.999]", "[0.5, 1.0]", "space.model.momentum.one_minus_log", 23, "[0.5, 1.0]", "0 <= low < high < 1"),
    ("{int: [2, 6]}", "{int: [6, 2]}", "space.model.depth.int", 21, "[6, 2]", "low < high"),
    ("{int: [2, 6]}", "{int_log: [0, 6]}", "space.model.depth.int_log", 21, "[0, 6]", "1 <= low < high"),
    ("{int: [2, 6]}", "{linear: [.inf, 6]}", "space.model.depth.linear.0", 21, "inf", "a finite number"),
    ("{int: [2, 6]}", "{}", "space.model.depth", 21, "none of them", "exactly one kind of range"),
    (
        "{int: [2, 6]}",
        "{int: [2, 6], log: [1, 2]}",
        "space.model.depth",
        21,
        "log and int",
        "exactly one kind of range",
    ),
    ("{int: [2, 6]}", "{choice: [2, 2]}", "space.model.depth.choice", 21, "2", "must be distinct"),
    ("{int: [2, 6]}", "{choice: [2], or_zero: 0.1}", "space.model.depth.or_zero", 21, "0.1", "for numeric ranges"),
    ("or_zero: 0.1", "or_zero: 1.0", "space.model.dropout.or_zero", 20, "1.0", "< 1"),
    # names in the space, conditions
    ("  model.depth:", "  depth:", "space.depth", 21, "'depth'", "Did you mean 'model.depth'?"),
    ("  model.depth:", "  modle.depth:", "space.modle.depth", 21, "'modle.depth'", "Did you mean 'model.depth'?"),
    ("  model.depth:", "  model.:", "space.model.", 21, "'model.'", "must be named model.…"),
    ("  model.depth:", "  model.width:", "space.model.width", 21, "8", "either searched or constant"),
    (
        "  model.depth:",
        "  trainer.precision:",
        "space.trainer.precision",
        21,
        "'32-true'",
        "either searched or constant",
    ),
    ("  model.depth:", "  trainer.max_epochs:", "space.trainer.max_epochs", 21, "max_epochs", "cannot be searched"),
    (
        "  model.depth:",
        "  trainer.strategy:",
        "space.trainer.strategy",
        21,
        "",
        "all trials of a study are placed alike",
    ),
    ("  model.depth:", "  model.dropout:", "space.model.dropout", 21, "line 20", "each key must be there once"),
    ("  model.depth:", "  model.dropout.p:", "space.model.dropout.p", 21, "'model.dropout'", "search only one"),
    (
        "      model.optimizer: [sgd]",
        "      model.optimiser: [sgd]",
        "space.model.momentum.when.model.optimiser",
        25,
        "'model.optimiser'",
        "Did you mean 'model.optimizer'?",
    ),
    (
        "      model.optimizer: [sgd]",
        "      model.optimizer: [sdg]",
        "space.model.momentum.when.model.optimizer",
        25,
        "'sdg'",
        "Did you mean 'sgd'?",
    ),
    (
        "      model.optimizer: [sgd]",
        "      model.depth: [2]",
        "space.model.momentum.when.model.depth",
        25,
        "'model.depth'",
        "must name a choice",
    ),
    (
        "[sgd, adamw]}",
        "[sgd, adamw], when: {model.optimizer: sgd}}",
        "space.model.optimizer.when",
        16,
        "model.optimizer",
        "not go in a circle",
    ),
    # stages, resources, what zeroin owns
    ("  - name: fine", "  - name: coarse", "stages.1.name", 31, "'coarse'", "must be unique"),
    ("  - name: fine", "  - name: refit", "stages.1.name", 31, "'refit'", "none of confirm, refit, test"),
    ("  - name: fine", "  - name: 1st", "stages.1.name", 31, "'1st'", "beginning with a letter"),
    ("sampler: qmc", "sampler: gp", "stages.0.sampler", 30, "'gp'", "must be random or qmc"),
    ("devices_per_trial: 1", "devices_per_trial: 0", "resources.devices_per_trial", 37, "0", "an integer from 1"),
    (
        "devices_per_trial: 1",
        "trials_per_device: all",
        "resources.trials_per_device",
        37,
        "'all'",
        "auto or an integer",
    ),
    ("devices_per_trial: 1", "hang_timeout_minutes: 0", "resources.hang_timeout_minutes", 37, "0", "a finite number"),
    ("precision: 32-true", "strategy: 2", "trainer.strategy", 10, "2", "the name of a Lightning strategy"),
    ("precision: 32-true", "strategy: ddp_spawn", "trainer.strategy", 10, "'ddp_spawn'", "processes of its own"),
    ("precision: 32-true", "max_epochs: 3", "trainer.max_epochs", 10, "3", "each stage's `max_epochs`"),
    ("precision: 32-true", "logger: false", "trainer.logger", 10, "False", "MLflow"),
    ("precision: 32-true", "devices: 2", "trainer.devices", 10, "2", "resources:"),
    ("my_package.Net", "Net", "model.class_path", 4, "'Net'", "an import path such as"),
    ("my_package.Net", "my-package.Net", "model.class_path", 4, "'my-package.Net'", "an import path such as"),
    ("my_package.Data", "__main__.Data", "data.class_path", 8, "'__main__.Data'", "Move it to a module"),
    # YAML itself
    ("seed: 0", "seed: [0", "", 3, "'model:'", "must be valid YAML"),
    ("seed: 0", "\tseed: 0", "", 2, "'seed: 0'", "spaces, not tabs"),
    ("seed: 0", "seed: 0\nseed: 1", "seed", 3, "'seed'", "after line 2"),
    ("seed: 0", "seed: *unknown", "", 2, "unknown", "must be valid YAML"),
    ("seed: 0", "seed: &a [*a]", "seed.0", 2, "this one does", "must not contain itself"),
    (
        "seed: 0",
        "seed: !!python/object/apply:os.system [ls]",
        "seed",
        2,
        "!!python/object/apply:os.system",
        "remove the tag",
    ),
    ("seed: 0", 'seed: "\\UFFFFFFFF"', "", 2, "an escape", "must be valid YAML"),
    ("seed: 0", "seed: &a {<<: *a}", "seed", 2, "this one does", "must not contain itself"),
    ("seed: 0", "seed: !!timestamp 2020-01-01", "seed", 2, "!!timestamp", "remove the tag"),
    ("seed: 0", "seed: !!int zero", "seed", 2, "'zero'", "an integer"),
    ("seed: 0", "1: 0", "", 2, "got 1", "keys must be strings"),
    ("seed: 0", "? [a, b]\n: 0", "", 2, "a list", "keys must be strings"),
    ("seed: 0", "<<: 5", "", 2, "`<<`", "a mapping"),
    ("seed: 0", "---\nseed: 0", "", 3, "'seed: 0'", "only one is read"),
    ("seed: 0", "seed: \x07", "", 2, r"'\x07'", "must be text"),
    ("seed: 0", 'seed: "\\ud800"', "seed", 2, r"'\ud800'", "valid Unicode"),
]


def failure(path: Path, content: str | bytes) -> StudyDefinitionError:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StudyDefinitionError) as caught:
        load_study_file(path)
    return caught.value


def test_the_file_that_the_bad_ones_are_made_from_is_good(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    assert load_study_file(tmp_path / "good.yaml").study == "small"


def test_there_are_enough_bad_files_and_no_two_are_the_same() -> None:
    assert len({(old, new) for old, new, *_ in BAD}) == len(BAD) >= 55


@pytest.mark.parametrize(("old", "new", "key", "line", "value", "expected"), BAD)
def test_a_bad_file_gives_one_clear_message(
    tmp_path: Path, old: str, new: str, key: str, line: int, value: str, expected: str
) -> None:
    assert GOOD.count(old) >= 1
    path = tmp_path / "bad.yaml"
    error = failure(path, GOOD.replace(old, new, 1))
    message = str(error)
    assert (error.file, error.key, error.line) == (path, key, line), message
    assert message.startswith(f"{path}:{line}: {key}" if key else f"{path}:{line}: ")
    text = message.splitlines()[0].removeprefix(f"{path}:{line}: {key}")
    assert value in text
    assert expected in text
    assert len(message.splitlines()) == 1, "one mistake is one line"
    assert text.rstrip().endswith((".", "?", ")"))
    assert error.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "line", "expected"),
    [
        (b"", 1, "is empty"),
        (b"# only a comment\n", 1, "is empty"),
        (b"- a\n- b\n", 1, "must be a mapping of keys"),
        (b"just text\n", 1, "'just text'"),
        (b"study: a\n\x89PNG\r\n", 2, "0x89"),
        ("study: a".encode("utf-16"), 1, "UTF-8"),
        (b"study: a\nseed: \x00\x01", 2, "must be text"),
        (b"x" * 1_000_001, None, "1000000 bytes"),
        (b"[" * 100_000, 1, "40 levels"),
        (b"- " * 100_000, 1, "40 levels"),
        (b"study: [" + b"1, " * 20_000 + b"1]", 1, "10000 entries"),
    ],
    ids=["empty", "comment", "list", "scalar", "binary", "utf-16", "nul", "huge", "brackets", "dashes", "long"],
)
def test_a_file_that_is_no_study_at_all(tmp_path: Path, content: bytes, line: int | None, expected: str) -> None:
    begun = time.monotonic()
    error = failure(tmp_path / "bad.yaml", content)
    assert time.monotonic() - begun < 5.0
    assert (error.file, error.line) == (tmp_path / "bad.yaml", line)
    assert expected in str(error)
    assert len(str(error)) < 500


def test_an_alias_bomb_is_defused(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    begun = time.monotonic()
    error = failure(tmp_path / "bomb.yaml", "\n".join(levels))
    assert time.monotonic() - begun < 5.0
    assert "with its aliases expanded" in str(error)
    assert error.line == 1


def test_several_mistakes_are_told_in_file_order_and_bounded(tmp_path: Path) -> None:
    text = GOOD.replace("seed: 0", "seed: -1").replace("n_trials", "n_trails").replace("max_epochs", "max_epoch")
    text = text.replace("maximize", "up").replace("top_k: 2", "top_k: 0")
    error = failure(tmp_path / "bad.yaml", text)
    lines = str(error).splitlines()
    assert (error.key, error.line) == ("seed", 2)
    assert lines[-1] == "… and 2 more."
    numbers = [int(re.match(r".*bad\.yaml:(\d+): ", line)[1]) for line in lines[:-1]]  # type: ignore[index]
    assert numbers == sorted(numbers) == [2, 13, 28, 29, 32]


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    error = failure(tmp_path / "bad.yaml", GOOD.replace("seed: 0", f"seed: {'x' * 100_000}"))
    assert "…" in str(error)
    assert len(str(error)) < 400


def test_a_missing_file_a_folder_and_an_impossible_name(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match="there is no such file"):
        load_study_file(tmp_path / "none.yaml")
    with pytest.raises(StudyDefinitionError, match="cannot be read"):
        load_study_file(tmp_path)
    with pytest.raises(StudyDefinitionError, match="cannot be read"):
        load_study_file(Path("nul\0byte"))


FRAGMENTS = [
    *(
        "0",
        "-1",
        "1e400",
        ".nan",
        "9" * 5000,
        "null",
        "true",
        "'8'",
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "&a",
        "*a",
        "&a [*a]",
    ),
    *(
        "!!binary",
        "!x",
        "<<: *a",
        "? ",
        ": ",
        "- ",
        "\t",
        "\n",
        "#",
        "---",
        "...",
        "%YAML 9.9",
        '"',
        "'",
        "|",
        ">",
        "@",
    ),
    *("\x00", "\ufeff", "\U0001f600", '"\\ud800"', '"\\UFFFFFFFF"', "none", "model.a", "when: ", "limits: [0, 0]"),
    *("{log: [1e-400, 1]}", "{log: [1e308, 1.7e308]}", "{one_minus_log: [0, 0.9999999999999999]}", "[5e-324, 1]"),
    *("{int_log: [1, 99999999999999999999]}", f"{{linear: [0, 1{'0' * 400}]}}", f"{{int: [0, 1{'0' * 400}]}}"),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        kind = draw(st.sampled_from(["insert", "delete", "value", "line"]))
        if kind == "insert":
            text = text[:start] + draw(st.sampled_from(FRAGMENTS) | st.text(max_size=5)) + text[start:]
        elif kind == "delete":
            text = text[:start] + text[start + draw(st.integers(1, 30)) :]
        else:
            lines = text.splitlines() or [""]
            index = draw(st.integers(0, len(lines) - 1))
            head, colon, _ = lines[index].partition(": ")
            new = draw(st.sampled_from(FRAGMENTS))
            lines[index] = f"{head}{colon}{new}" if kind == "value" else lines[draw(st.integers(0, len(lines) - 1))]
            text = "\n".join(lines) + "\n"
    return text


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=mutated())
def test_a_mutated_file_is_read_or_refused_but_never_crashes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mutated.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_study_file(path)
    except SearchError as error:
        assert str(error).startswith(str(path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    assert failure(tmp_path / "random.yaml", content).file == tmp_path / "random.yaml"
