"""Streaming: bodies of any size in little memory, events at once, a slow reader slows the writer."""

import asyncio

import pytest
from actors.lane import OK, Lane
from actors.proxy import resident_kib
from actors.wire import Wire, soon

MIB = 1 << 20
BLOCK = bytes(256 * 1024)
SIZES = [pytest.param(64 * MIB, id="64 MiB"), pytest.param(1024 * MIB, id="1 GiB", marks=pytest.mark.soak)]
GROWTH_KIB = 6 * 1024


async def write(wire: Wire, size: int, *, chunked: bool) -> None:
    frame = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    for _ in range(size // len(BLOCK)):
        wire.writer.write(frame)
        await wire.writer.drain()
    if chunked:
        wire.writer.write(b"0\r\n\r\n")


async def count_bytes(wire: Wire, size: int) -> None:
    left = size
    while left:
        data = await soon(wire.reader.read(min(left, MIB)))
        assert data, f"{left} bytes are missing"
        left -= len(data)


async def count_chunks(wire: Wire, size: int) -> None:
    got = 0
    while chunk := await wire.read_chunk():
        got += len(chunk)
    assert got == size
    assert await wire.read(2) == b"\r\n"


class Memory:
    """The most that a worker's resident memory has grown by since it was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = resident_kib(pid)
        self.growth_kib = 0
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self.growth_kib = max(self.growth_kib, resident_kib(self._pid) - self._before)
            await asyncio.sleep(0.02)

    def stop(self) -> int:
        self._watching.cancel()
        return self.growth_kib


async def warm(lane: Lane) -> tuple[Memory, Wire]:
    """The worker's memory after a first exchange, and the pooled connection that the next one will use."""
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(OK)
    await client.read_response()
    client.close()
    return Memory((await lane.proxy.workers())[0]), upstream


@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "in chunks"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_large_answer_passes_in_little_memory(lane: Lane, size: int, chunked: bool) -> None:
    memory, upstream = await warm(lane)
    client = await lane.connect()
    await client.send(lane.request("/", "GET", "Connection: close"))
    await upstream.read_request()
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % size
    await upstream.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
    await client.read_head()
    writing = asyncio.create_task(write(upstream, size, chunked=chunked))
    await (count_chunks if chunked else count_bytes)(client, size)
    await writing
    assert await client.is_closed()
    assert memory.stop() < GROWTH_KIB


@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "in chunks"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_large_request_passes_in_little_memory(lane: Lane, size: int, chunked: bool) -> None:
    memory, upstream = await warm(lane)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    client = await lane.connect()
    await client.send(lane.request("/", "POST", framing))
    await upstream.read_head()
    writing = asyncio.create_task(write(client, size, chunked=chunked))
    await (count_chunks if chunked else count_bytes)(upstream, size)
    await writing
    await upstream.send(OK)
    assert (await client.read_response()).status == 200
    assert memory.stop() < GROWTH_KIB


@pytest.mark.parametrize("framing", ["chunked", "until close"])
async def test_each_event_arrives_before_the_next_is_sent(lane: Lane, framing: str) -> None:
    """No delay can hide here: the upstream sends an event only when the client has the one before."""
    client = await lane.connect()
    await client.send(lane.request("/", "POST", "Accept: text/event-stream", body=b"{}"))
    upstream = await lane.accept()
    await upstream.read_request()
    field = b"transfer-encoding: chunked\r\n" if framing == "chunked" else b""
    await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%b\r\n" % field)
    assert (await client.read_head()).get("content-type") == "text/event-stream"
    started = asyncio.get_running_loop().time()
    for number in range(100):
        event = b"data: token %d\n\n" % number
        await upstream.send(b"%x\r\n%b\r\n" % (len(event), event) if framing == "chunked" else event)
        assert await client.read_chunk() == event
    assert asyncio.get_running_loop().time() - started < 2  # Nagle with delayed ACKs would take 4 s
    await upstream.send(b"0\r\n\r\n") if framing == "chunked" else upstream.close()
    assert await client.read_chunk() == b""


async def test_an_event_in_pieces_is_passed_on_in_pieces(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\ndata:")
    await client.read_head()
    assert await client.read_chunk() == b"data:"
    await upstream.send(b" tok\n\r\n0\r\n\r\n")
    assert await client.read_chunk() == b" tok\n"
    assert await client.read_chunk() == b""


async def test_a_request_body_arrives_as_it_is_sent(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "POST", "Transfer-Encoding: chunked"))
    upstream = await lane.accept()
    await upstream.read_head()
    for number in range(10):
        await client.send(b"1\r\n%d\r\n" % number)
        assert await upstream.read_chunk() == b"%d" % number
    await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n")
    await client.read_head()
    assert await client.read_chunk() == b"early"  # both directions at once
    await client.send(b"0\r\n\r\n")
    assert await upstream.read_chunk() == b""
    await upstream.send(b"0\r\n\r\n")
    assert await client.read_chunk() == b""


async def fill(wire: Wire) -> int:
    """Write until nobody takes more; how many bytes were taken."""
    written = 0
    wire.writer.transport.set_write_buffer_limits(0)
    while written < 256 * MIB:
        wire.writer.write(BLOCK)
        try:
            async with asyncio.timeout(0.3):
                await wire.writer.drain()
        except TimeoutError:
            return written
        written += len(BLOCK)
    return written


@pytest.mark.parametrize("slow", ["client", "upstream"])
async def test_a_slow_reader_slows_the_writer(lane: Lane, slow: str) -> None:
    size = 512 * MIB
    memory, upstream = await warm(lane)
    client = await lane.connect()
    if slow == "client":
        await client.send(lane.request())
        await upstream.read_request()
        await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        await client.read_head()
        writer, reader = upstream, client
    else:
        await client.send(lane.request("/", "POST", f"Content-Length: {size}"))
        await upstream.read_head()
        writer, reader = client, upstream
    reader.reader._transport.pause_reading()  # type: ignore[attr-defined]
    written = await fill(writer)
    assert written < 64 * MIB  # what the sockets' buffers hold, and no more
    assert memory.stop() < GROWTH_KIB
    reader.reader._transport.resume_reading()  # type: ignore[attr-defined]
    await count_bytes(reader, written)


async def test_a_stream_does_not_hold_up_other_requests(lane: Lane) -> None:
    stream = await lane.connect()
    await stream.send(lane.request("/stream"))
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MIB))
    await stream.read_head()
    writing = asyncio.create_task(write(upstream, 64 * MIB, chunked=False))
    lane.serve()
    for _ in range(20):
        assert (await lane.ask()).status == 200
    await count_bytes(stream, 64 * MIB)
    await writing
