"""A packaged network on a trained backbone needs neither the study nor the file that the backbone came from."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import assembly
from small_transfer import BACKBONE, weights_at
from test_model_packages import packaged, probabilities

from lightning_modules import DigitsDataModule, TransferNet
from search.messages import LookAssignment
from search.model_package import CODE, DATA, EXAMPLES_NAME
from search.worker import packaged_model
from search.worker.looking import look_inside

pytestmark = pytest.mark.slow

USERS_MODULE = """
from lightning_modules import TransferNet


class Undecided(TransferNet):
    def forward(self, x):
        return super().forward(x) if float(x.detach().sum()) > 0.0 else super().forward(x) - 1.0
"""


@pytest.mark.parametrize("is_exportable", [True, False])
def test_the_backbones_file_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_exportable: bool) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "undecided_transfer.py").write_text(USERS_MODULE)
    monkeypatch.syspath_prepend(users)
    cls: Any = TransferNet if is_exportable else importlib.import_module("undecided_transfer").Undecided
    weights = weights_at(tmp_path / "backbone.pt")
    arguments: dict[str, Any] = {
        "in_channels": 1,
        "n_classes": 10,
        "backbone": BACKBONE,
        "weights": weights,
        "unfreeze_depth": 1,
    }
    net = cls(**arguments).eval()
    Path(weights).unlink()  # as where the refits were trained elsewhere
    made = assembly(cls, DigitsDataModule, model_args=arguments)
    result, unpacked = packaged(tmp_path, made, [net])
    assert result.is_packaged, result
    views = look_inside(LookAssignment(assembly=made, directory=str(tmp_path / "refit-seed0")))
    assert views.error == ""
    shutil.rmtree(users)
    if not is_exportable:
        monkeypatch.delitem(sys.modules, "undecided_transfer")
    monkeypatch.syspath_prepend(unpacked / CODE)
    examples = np.load(unpacked / EXAMPLES_NAME)
    with torch.no_grad():
        expected = net(DigitsDataModule().preprocessing(torch.from_numpy(examples))).softmax(1).numpy()
    found = probabilities(packaged_model.load(unpacked / DATA).predict(examples))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_weights_all_are_drawn(tmp_path: Path) -> None:
    given = {"in_channels": 1, "n_classes": 4, "backbone": BACKBONE, "unfreeze_depth": "all"}
    torch.manual_seed(0)
    drawn = TransferNet(**given, weights=None).state_dict()
    torch.manual_seed(0)
    loaded = TransferNet(**given, weights=weights_at(tmp_path / "backbone.pt")).state_dict()
    torch.manual_seed(0)
    again = TransferNet(**given, weights=None).state_dict()
    name = "network.features.0.0.weight"
    assert not torch.equal(drawn[name], loaded[name])
    assert all(torch.equal(drawn[each], again[each]) for each in drawn)
