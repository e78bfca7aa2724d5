"""What is wrong with a study shows before anything is created, in one message with its place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine

pytestmark = pytest.mark.slow

STUDY = """\
study: wrong
seed: 0
model: {class_path: lightning_modules.ConvNet, init_args: {in_channels: 1, n_classes: 10}}
data: {class_path: lightning_modules.DigitsDataModule}
objective: {monitor: val_acc, direction: maximize}
space:
  model.learning_rate: {log: [1.0e-3, 1.0e-1]}
stages:
  - {name: only, n_trials: 2, max_epochs: 1, sampler: random}
"""

# Each replaces something by something wrong: the line that the message must name, and what it must say.
MISTAKES = {
    "seed: 0": ("sead: 0", 2, ["sead", "Did you mean 'seed'"]),
    "log: [1.0e-3, 1.0e-1]": ("log: [0.0, 1.0e-1]", 7, ["model.learning_rate", "0"]),
    "lightning_modules.ConvNet": ("lightning_modules.ConvNett", 3, ["ConvNett", "Did you mean"]),
    "model.learning_rate:": ("model.learning_rat:", 7, ["learning_rat", "learning_rate"]),
    "monitor: val_acc": (
        "monitor: val_accuracy",
        5,
        ["val_accuracy", "it logs val_loss, val_acc there", "Did you mean 'val_acc'"],
    ),
}


@pytest.mark.usefixtures("forked_workers")
def test_a_wrong_study_is_refused_with_its_place_and_creates_nothing(tmp_path: Path) -> None:
    def refused(index: int) -> tuple[CommandLine, str]:
        right = list(MISTAKES)[index]
        zeroin = CommandLine(directory=tmp_path / str(index))
        zeroin.directory.mkdir()
        assert STUDY.count(right) == 1
        (zeroin.directory / "wrong.yaml").write_text(STUDY.replace(right, MISTAKES[right][0]))
        done = zeroin.called("run", "wrong.yaml", "--devices", "cpu:1", "--plain")
        assert done.returncode == 2, done.stdout + done.stderr
        assert all("checking the model" in line for line in done.stdout.splitlines()), done.stdout
        return zeroin, done.stderr

    results = [refused(index) for index in range(len(MISTAKES))]
    for (zeroin, message), (_, line, expected) in zip(results, MISTAKES.values(), strict=True):
        assert f"wrong.yaml:{line}: " in message
        for text in expected:
            assert text in message
        assert "Traceback" not in message
        assert message.count("zeroin: error: ") == 1
        assert [path.name for path in zeroin.directory.iterdir() if path.name != "__pycache__"] == ["wrong.yaml"]
