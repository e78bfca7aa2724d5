"""What the user is told while workers wait for room on a Ray cluster, and when."""

from __future__ import annotations

import pytest

from search.engines.ray_frames import NodeResources, RoomWanted
from search.engines.ray_room import RoomNotices
from search.engines.ray_slots import ClusterSlots

ONE_GPU = ClusterSlots(n_slots=8, n_devices=1, n_gpus=1.0, n_cpus=0.0)
EIGHT_GPUS = ClusterSlots(n_slots=1, n_devices=8, n_gpus=8.0, n_cpus=0.0)
HALF_A_CPU = ClusterSlots(n_slots=4, n_devices=1, n_gpus=0.0, n_cpus=0.5)


def nodes(*n_gpus: float) -> tuple[NodeResources, ...]:
    return tuple(NodeResources(n_gpus=each, n_cpus=1.0) for each in n_gpus)


def wanted(
    *n_gpus: float, waiting: int = 8, workers: int = 8, waited_seconds: float = 2.0, free: float = 0.0
) -> RoomWanted:
    return RoomWanted(
        n_waiting=waiting,
        n_workers=workers,
        waited_seconds=waited_seconds,
        nodes=nodes(*n_gpus),
        n_free_gpus=free,
        n_free_cpus=free,
    )


def told(room: RoomNotices, news: RoomWanted, *, seconds: range) -> list[int]:
    """When something is said while the news stay the same."""
    return [now for now in seconds if room.notice(news, now=float(now))]


def test_a_cluster_without_what_a_trial_takes_is_told_of_at_once_with_both() -> None:
    assert RoomNotices(ONE_GPU).notice(wanted(0.0, 0.0), now=0.0) == (
        "no trial can start yet: each takes 1 GPU, but the Ray cluster has 2 nodes with no GPUs. Waiting for nodes to "
        "join; Ctrl-C stops."
    )
    assert RoomNotices(EIGHT_GPUS).notice(wanted(4.0, 4.0, 0.0, waiting=1, workers=1), now=0.0) == (
        "no trial can start yet: each takes 8 GPUs of one node, but the Ray cluster has 2 nodes with 4 GPUs, 1 node "
        "with no GPUs. Waiting for nodes to join; Ctrl-C stops."
    )
    assert "has no node. Waiting" in RoomNotices(ONE_GPU).notice(wanted(), now=0.0)


def test_it_is_told_again_when_the_cluster_has_changed_and_now_and_then_as_long_as_nothing_runs() -> None:
    room = RoomNotices(ONE_GPU)
    assert told(room, wanted(0.0), seconds=range(0, 1500, 2)) == [0, 600, 1200]
    assert told(room, wanted(0.0, 0.0), seconds=range(1500, 1600, 2)) == [1500]


def test_a_cluster_that_grows_node_by_node_is_not_told_of_each_time() -> None:
    room = RoomNotices(ONE_GPU)
    said = [room.notice(wanted(*[1.0] * min(7, now)), now=float(now)) for now in range(60)]
    assert [now for now, text in enumerate(said) if text] == [0, 20]
    assert "room for 7" in said[20]


def test_a_study_under_way_tells_once_of_the_room_that_it_lacks_whatever_becomes_of_single_workers() -> None:
    room = RoomNotices(ONE_GPU)
    assert room.notice(wanted(3.0, 0.0), now=0.0) == (
        "8 trials at a time were asked for, each on 1 GPU, but the Ray cluster has 1 node with 3 GPUs, 1 node with no "
        "GPUs: room for 3. The others start as nodes join."
    )
    for now in range(2, 2000, 2):
        replaced = wanted(3.0, 0.0, waiting=5 + now % 4 // 2, workers=8 - now % 3 // 2, waited_seconds=float(now))
        assert room.notice(replaced, now=float(now)) == ""


def test_room_that_others_use_is_told_of_once_workers_ought_to_have_been_placed() -> None:
    room = RoomNotices(HALF_A_CPU)
    starting = wanted(0.0, 0.0, waiting=4, workers=4)
    assert told(room, starting, seconds=range(30)) == []
    busy = wanted(0.0, 0.0, waiting=4, workers=4, waited_seconds=31.0, free=0.25)
    assert room.notice(busy, now=31.0) == (
        "4 of 4 workers wait for a place on the Ray cluster: each takes 0.5 CPU, and the cluster has 2 nodes with "
        "1 CPU, of which 0.25 in all are free. They start as room is freed or nodes join; Ctrl-C stops."
    )
    assert room.notice(wanted(0.0, 0.0, waiting=0, workers=4), now=50.0) == ""
    one_lost = wanted(0.0, 0.0, waiting=1, workers=4, waited_seconds=31.0)
    assert told(room, one_lost, seconds=range(100, 2000)) == [100]


@pytest.mark.parametrize("waited_seconds", [0.0, 29.0, 1e6])
def test_workers_that_have_been_placed_are_no_news(waited_seconds: float) -> None:
    assert RoomNotices(ONE_GPU).notice(wanted(8.0, waiting=0, waited_seconds=waited_seconds), now=0.0) == ""
