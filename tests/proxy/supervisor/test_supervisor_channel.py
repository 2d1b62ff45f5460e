"""Frames and descriptors between supervisor and worker."""

import asyncio
import os
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import uvloop

from turnout.proxy.cluster.target import Target
from turnout.proxy.worker.channel import Channel
from turnout.proxy.worker.messages import Configure, Drained, Listen, Message, Resolved, Started

HEADER = struct.Struct(">IB")


class End:
    """One end of a pair that keeps what it is given: messages with the inodes of their descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self.got: list[tuple[Message, list[int]]] = []
        self.closes = 0
        self.changed = asyncio.Event()
        self.channel = Channel(sock, asyncio.get_running_loop(), self.on_message, self.on_close)

    def on_message(self, message: Message, fds: list[int]) -> None:
        self.got.append((message, [os.fstat(fd).st_ino for fd in fds]))
        for fd in fds:
            os.close(fd)
        self.changed.set()

    def on_close(self) -> None:
        self.closes += 1
        self.changed.set()

    async def wait_for(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def ends() -> tuple[End, End]:
    one, other = socket.socketpair()
    return End(one), End(other)


@pytest.fixture
async def end_and_socket() -> tuple[End, socket.socket]:
    one, other = socket.socketpair()
    return End(one), other


def descriptors(count: int) -> tuple[list[int], list[int]]:
    """New descriptors, and their inodes to know them by."""
    fds = [os.memfd_create("test") for _ in range(count)]
    return fds, [os.fstat(fd).st_ino for fd in fds]


def frame(message: Message, fds: int = 0) -> bytes:
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body), fds) + body


async def every_frame_gets_its_own_descriptors() -> None:
    one, other = socket.socketpair()
    sender, receiver = End(one), End(other)
    order = random.Random(3)
    sent: list[tuple[Message, list[int]]] = []
    for number in range(200):
        fds, inodes = descriptors(order.choice((0, 0, 1, 3)))
        size = order.choice((0, 10, 100_000, 2_000_000 if number % 50 == 0 else 0))
        message: Message = Configure(number, msgspec.Raw(msgspec.msgpack.encode("z" * size)), "v", [])
        sender.channel.send(message, fds)
        for fd in fds:
            os.close(fd)
        sent.append((message, inodes))
    await receiver.wait_for(lambda: len(receiver.got) == len(sent))
    assert receiver.got == sent
    sender.channel.close()
    await receiver.wait_for(lambda: receiver.closes)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_every_frame_gets_its_own_descriptors_on(runner):
    before = len(os.listdir("/proc/self/fd"))
    runner(every_frame_gets_its_own_descriptors())
    assert len(os.listdir("/proc/self/fd")) <= before + 3  # what uvloop keeps


async def test_frames_may_come_byte_by_byte(end_and_socket):
    end, sock = end_and_socket
    fds, inodes = descriptors(1)
    listen = frame(Listen("default", "127.0.0.1:1"), 1)
    socket.send_fds(sock, [listen[:1]], fds)
    for byte in listen[1:] + frame(Started(7)):
        sock.send(bytes([byte]))
        await asyncio.sleep(0)
    await end.wait_for(lambda: len(end.got) == 2)
    assert end.got == [(Listen("default", "127.0.0.1:1"), inodes), (Started(7), [])]
    os.close(fds[0])


async def test_what_was_said_before_the_end_is_heard(ends):
    one, other = ends
    one.channel.send(Drained())
    one.channel.close()
    await other.wait_for(lambda: other.closes)
    assert other.got == [(Drained(), [])]
    assert other.closes == 1
    assert one.closes == 0
    assert repr(other.channel) == "<Channel closed>"


async def test_sending_never_blocks_and_says_so(ends):
    one, other = ends
    big = Resolved("c", 0, [Target("127.0.0.1", port, 0) for port in range(200_000)])
    one.channel.send(big)
    assert repr(one.channel) == "<Channel writing>"
    await other.wait_for(lambda: other.got)
    assert other.got == [(big, [])]
    assert repr(one.channel) == "<Channel open>"


async def test_sending_to_one_that_is_gone_is_told_as_a_close(end_and_socket):
    end, sock = end_and_socket
    sock.close()
    end.channel.send(Drained())
    await end.wait_for(lambda: end.closes)
    end.channel.send(Drained())
    assert end.closes == 1


@pytest.mark.parametrize(
    "nonsense",
    [HEADER.pack(3, 0) + b"\xc1\xc1\xc1", HEADER.pack(1, 0) + b"\x01", frame(Listen("a", "b"), fds=1)],
    ids=["not msgpack", "not a message", "descriptors that never came"],
)
async def test_nonsense_closes_the_channel(end_and_socket, nonsense):
    end, sock = end_and_socket
    sock.send(frame(Started(1)) + nonsense)
    await end.wait_for(lambda: end.closes)
    assert end.got == [(Started(1), [])]
