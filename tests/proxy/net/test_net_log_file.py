"""Nobody who reads the access log can stop the proxy by not reading: pipes and terminals fill up, and nothing waits."""

import os
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout.proxy.net.log_file import MAX_WAITING_BYTES, LogFile, open_log

LINE = b"x" * 199 + b"\n"
LINES = 2_000
"""More than any pipe or terminal holds."""

pytestmark = pytest.mark.timeout(20)


class Dropped:
    """How many lines a log file said that it dropped."""

    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, lines: int) -> None:
        self.lines += lines


@pytest.fixture
def dropped() -> Dropped:
    return Dropped()


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """Where a person reads, and the path at which to write."""
    reader, writer = os.openpty()
    tty.setraw(writer)
    os.set_blocking(reader, False)
    yield reader, os.ttyname(writer)
    os.close(reader)
    os.close(writer)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A named pipe."""
    path = str(tmp_path / "access.pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield reader, path
    os.close(reader)


def read_all(reader: int, file: LogFile) -> bytes:
    """What comes while the file is flushed until nothing of it waits."""
    text = bytearray()
    while True:
        try:
            text += os.read(reader, 65_536)
        except BlockingIOError:
            if not file.buffer:
                return bytes(text)
        file.flush()


def write_for_ever(fd: int) -> None:
    while True:
        os.write(fd, LINE)


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_what_a_stalled_reader_does_not_take_waits(kind: str, request: pytest.FixtureRequest, dropped: Dropped) -> None:
    reader, path = request.getfixturevalue(kind)
    file = LogFile(path, dropped)
    file.buffer += LINE * LINES
    file.flush()
    assert 0 < len(file.buffer) < len(LINE) * LINES
    assert read_all(reader, file) == LINE * LINES
    assert dropped.lines == 0


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_what_waits_is_bounded_and_what_is_dropped_is_counted(
    kind: str, request: pytest.FixtureRequest, dropped: Dropped
) -> None:
    reader, path = request.getfixturevalue(kind)
    file = LogFile(path, dropped)
    lines = MAX_WAITING_BYTES // len(LINE) + LINES
    for _ in range(lines):
        file.buffer += LINE
    file.flush()
    assert not file.buffer
    taken = read_all(reader, file).count(b"\n")
    assert 0 < taken < lines
    assert dropped.lines == lines - taken


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_a_write_into_what_another_worker_filled_returns_at_once(kind: str, request: pytest.FixtureRequest) -> None:
    """Whoever asked first whether there is room may find none."""
    fd = open_log(request.getfixturevalue(kind)[1])
    with pytest.raises(BlockingIOError):
        write_for_ever(fd)
    os.close(fd)


def test_a_named_pipe_without_a_reader_holds_up_nothing(tmp_path: Path, dropped: Dropped) -> None:
    path = str(tmp_path / "access.pipe")
    os.mkfifo(path)
    file = LogFile(path, dropped)
    file.buffer += LINE
    file.flush()
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert read_all(reader, file) == LINE
    os.close(reader)


def test_a_full_disk_costs_lines_and_nothing_else(dropped: Dropped) -> None:
    file = LogFile("/dev/full", dropped)
    file.buffer += LINE * 3
    file.flush()
    assert not file.buffer
    assert dropped.lines == 3
