"""The small parts of the client: back-off, and the last good Snapshot on disk."""

import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.rules.snapshot import Backend, Cluster, Endpoint, Forward, Listener, Match, Route, Snapshot, VirtualHost
from turnout.xds.client.backoff import BackOff
from turnout.xds.client.cache import CacheError, load_snapshot, save_snapshot


def snapshot(name: str = "a") -> Snapshot:
    route = Route("r", Match(), Forward((Backend(name), Backend("cold"))))
    return Snapshot(
        listeners=(Listener("main", (VirtualHost("all", ("*",), (route,)),), "127.0.0.1", 8080),),
        clusters=(Cluster(name, (Endpoint("127.0.0.1", 1, weight=3),)),),
        cold=("cold",),
    )


def test_each_failure_waits_longer_up_to_a_limit_and_never_the_same() -> None:
    back_off = BackOff(0.25, 15.0, random.Random(7))
    waits = [back_off.next_s() for _ in range(1_000)]
    for failures, wait in enumerate(waits):
        whole = min(15.0, 0.25 * 2.0 ** min(failures, 40))
        assert whole / 2 <= wait <= whole
    assert len(set(waits)) == len(waits)


def test_after_a_success_the_wait_is_short_again() -> None:
    back_off = BackOff(0.25, 15.0)
    for _ in range(10):
        back_off.next_s()
    back_off.reset()
    assert back_off.next_s() <= 0.25


def test_what_was_saved_is_loaded_and_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "proxy.snapshot"
    assert load_snapshot(str(path)) is None
    for name in ("a", "b"):
        save_snapshot(str(path), snapshot(name))
        assert load_snapshot(str(path)) == snapshot(name)
    assert os.listdir(path.parent) == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(st.data())
def test_a_file_that_is_not_as_it_was_written_is_not_used(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.snapshot"
    save_snapshot(str(path), snapshot())
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from((whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole + b"\0"))
    )
    path.write_bytes(damaged)
    with pytest.raises(CacheError, match="is not a whole Snapshot"):
        load_snapshot(str(path))


def test_a_snapshot_that_does_not_hold_together_is_not_used(tmp_path: Path) -> None:
    path = str(tmp_path / "proxy.snapshot")
    save_snapshot(path, Snapshot(listeners=snapshot().listeners))
    with pytest.raises(CacheError, match="neither a cluster nor missing nor cold"):
        load_snapshot(path)


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="can't be written: File exists"):
        save_snapshot(str(tmp_path / "file" / "proxy.snapshot"), snapshot())
    with pytest.raises(CacheError, match="can't be read: Is a directory"):
        load_snapshot(str(tmp_path))
