"""What packaged models are tried out with: a few raw images of the train split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightning_modules import DigitsDataModule, NumpyDataModule


def test_they_are_train_images_as_they_were_read() -> None:
    data = DigitsDataModule()
    np.testing.assert_array_equal(data.raw_examples(3), data.load().images[data.splits.train[:3]])
    assert len(data.raw_examples(10_000)) == len(data.splits.train)


@pytest.mark.parametrize("in_memory", [True, False])
def test_streamed_images_are_not_all_read_for_them(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(40, 6, 5, 3), dtype=np.uint8)
    np.savez(tmp_path / "all.npz", images=images, labels=np.arange(40) % 2)
    data = NumpyDataModule(directory=str(tmp_path / "all.npz"), in_memory=in_memory)
    monkeypatch.setattr(NumpyDataModule, "load", lambda self: pytest.fail("all images were read"))
    examples = data.raw_examples(2)
    assert examples.dtype == np.uint8
    np.testing.assert_array_equal(examples, images[data.splits.train[:2]].transpose(0, 3, 1, 2))
