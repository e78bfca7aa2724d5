from pathlib import Path

import pytest

from search.engines.devices import device_slots, usable_cores
from search.errors import SearchError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


def visible(devices: str, *, trials_per_device: int = 1) -> list[str]:
    slots = device_slots(devices, trials_per_device=trials_per_device)
    return [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots]


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_slots_are_cpu_cores_and_see_no_gpu() -> None:
    assert visible("auto") == [""] * min(usable_cores(), 8)
    assert visible("3") == ["", "", ""]
    assert visible("cpu:2") == ["", ""]


@pytest.mark.usefixtures("four_gpus")
def test_with_gpus_each_slot_sees_its_own() -> None:
    assert visible("auto") == ["0", "1", "2", "3"]
    assert visible("2") == ["0", "1"]
    assert visible("0,2") == ["0", "2"]
    assert visible("3,") == ["3"]
    assert visible("cpu:1") == [""]


@pytest.mark.usefixtures("four_gpus")
def test_several_trials_share_a_device() -> None:
    assert visible("0,2", trials_per_device=2) == ["0", "0", "2", "2"]


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("5", "5 GPUs asked for, but 4 are visible"),
        ("0,7", "GPU '7' of '0,7' is not among the visible ones"),
        ("0", "a count >= 1"),
        ("-1", "a count >= 1"),
        ("many", "expected `auto`"),
        ("cpu:0", "a count >= 1"),
    ],
)
def test_impossible_devices_are_refused(devices: str, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        device_slots(devices, trials_per_device=1)


def test_nvidia_smi_is_asked_when_the_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-a)'\necho 'GPU 1: NVIDIA H200 (UUID: GPU-b)'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert visible("auto") == ["0", "1"]
