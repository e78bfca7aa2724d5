from collections.abc import Callable
from pathlib import Path

import pytest

from search.engines.devices import plan_devices
from search.errors import SearchError
from search.usable_cores import usable_cores


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


def visible(devices: str, *, trials_per_device: int = 1) -> list[str]:
    plan = plan_devices(devices, devices_per_trial=1, trials_per_device=trials_per_device)
    assert plan.unused == ()
    assert {slot.n_ranks for slot in plan.slots} == {1}
    return [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in plan.slots]


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
        plan_devices(devices, devices_per_trial=1, trials_per_device=1)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("devices", "visible", "unused"),
    [
        ("auto", ["0,1", "2,3"], ()),
        ("3", ["0,1"], ("GPU 2",)),
        ("3,1,0", ["3,1"], ("GPU 0",)),
        ("cpu:5", ["", ""], ("CPU slot 4",)),
    ],
)
def test_neighbouring_devices_make_a_slot_and_what_is_left_over_is_told(
    devices: str, visible: list[str], unused: tuple[str, ...]
) -> None:
    plan = plan_devices(devices, devices_per_trial=2, trials_per_device=1)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in plan.slots] == visible
    assert {slot.n_ranks for slot in plan.slots} == {2}
    assert plan.unused == unused
    assert plan.notice == (
        f"{unused[0]} will stay unused: a trial takes 2 devices (devices_per_trial)." if unused else ""
    )


@pytest.mark.usefixtures("four_gpus")
def test_a_slot_of_several_devices_is_told_by_all_of_them() -> None:
    labels = [
        plan_devices(devices, devices_per_trial=3, trials_per_device=1).slots[0].label for devices in ("3", "cpu:3")
    ]
    assert labels == ["GPUs 0, 1 and 2", "CPU slots 0, 1 and 2"]


@pytest.mark.usefixtures("no_gpu")
def test_without_a_number_cpu_slots_suffice_for_a_trial_and_none_is_left_over() -> None:
    for devices_per_trial in (2, 3, 100):
        plan = plan_devices("auto", devices_per_trial=devices_per_trial, trials_per_device=1)
        assert plan.unused == ()
        assert plan.slots


@pytest.mark.usefixtures("four_gpus")
def test_too_few_devices_for_a_trial_are_refused() -> None:
    with pytest.raises(SearchError, match=r"takes 2 devices.*'1' gives 1: GPU 0.*--devices cpu:2"):
        plan_devices("1", devices_per_trial=2, trials_per_device=1)


@pytest.mark.usefixtures("no_gpu")
def test_an_apple_gpu_is_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    for devices in ("auto", "1", "mps"):
        (slot,) = plan_devices(devices, devices_per_trial=1, trials_per_device=1).slots
        assert slot.label == "Apple GPU"
        assert slot.environment == {"ZEROIN_MPS": "1"}
    assert plan_devices("cpu:1", devices_per_trial=1, trials_per_device=1).slots[0].label == "CPU slot 0"
    with pytest.raises(SearchError, match="2 GPUs asked for, but 1 are visible"):
        plan_devices("2", devices_per_trial=1, trials_per_device=1)
    with pytest.raises(SearchError, match="takes 2 devices"):
        plan_devices("auto", devices_per_trial=2, trials_per_device=1)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes `nvidia-smi` list what it is told, with no variable set."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def say(text: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return say


def test_nvidia_smi_is_asked_when_the_variable_is_not_set(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("GPU 0: NVIDIA H200 (UUID: GPU-a)\nGPU 1: NVIDIA GeForce GT 710 (UUID: GPU-b)")
    assert visible("auto") == ["0", "1"]
    (slot,) = plan_devices("0,1", devices_per_trial=2, trials_per_device=1).slots
    # Otherwise CUDA counts from the fastest GPU on, and 0 need not be the one that nvidia-smi calls so.
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_parts_of_a_divided_gpu_are_devices_but_not_for_one_trial_together(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi(
        "GPU 0: NVIDIA A100 (UUID: GPU-a)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-5c6d)\n"
        "  MIG 3g.20gb     Device  1: (UUID: MIG-7e8f)\n"
        "GPU 1: NVIDIA A100 (UUID: GPU-b)"
    )
    assert visible("auto") == ["MIG-5c6d", "MIG-7e8f", "1"]
    assert visible("MIG-7e8f,") == ["MIG-7e8f"]
    with pytest.raises(SearchError, match=r"one part of a divided GPU \(MIG\) at most, but got devices_per_trial 2"):
        plan_devices("auto", devices_per_trial=2, trials_per_device=1)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("GPU-8932f937-D72c,GPU-11", ["GPU-8932f937-D72c", "GPU-11"]),
        ("2, 3", ["2", "3"]),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", [""] * min(usable_cores(), 8)),  # what SLURM says where it gave no GPU
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(
    variable: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible("auto") == expected
    if expected[0]:
        assert visible(f"{expected[-1]},") == expected[-1:]
