"""Load whose every request is judged: the right answer, or one clear error, within its deadline."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.proxy import until
from actors.wire import LIMIT_BYTES, Message, Wire

INFER = "/v2/models/iris/infer"
SIZES = (0, 100, 100, 100, 2_000, 2_000, 200_000)


def parse_head(head: bytes) -> Message:
    """Of an answer."""
    start, *lines = head[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(start, [(name.lower(), value.strip()) for name, _, value in pairs])


class JudgingLoad:
    """Clients that ask one after the other on connections of their own.

    `right` counts good answers by who gave them; `errors` the others: by the flag of the proxy's own, `status N` of a
    server's, `cut` for one that broke off after its head. `lost` are those whose connection broke without a word, which
    only the death of a worker may do; `wrong` tells of everything that must not be. `left` counts what leavers asked.
    """

    def __init__(
        self, port: int, *, within_s: float, path: str = INFER, fields: str = "", sizes: tuple[int, ...] = SIZES,
        think_s: float = 0.0, seed: int = 1,
    ) -> None:  # fmt: skip
        self.right: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.lost = 0
        self.wrong: list[str] = []
        self.slowest_s = 0.0
        self.asked = self.left = 0
        self._port = port
        self._within_s = within_s
        self._path = path
        self._fields = fields
        self._sizes = sizes
        self._think_s = think_s
        self._random = random.Random(seed)
        self._stopping = False

    def __repr__(self) -> str:
        kinds = {"right": dict(self.right), "errors": dict(self.errors), "lost": self.lost, "wrong": self.wrong[:5]}
        return f"<JudgingLoad {self.ended} of {self.asked}: {kinds}, slowest {self.slowest_s:.3f} s>"

    @property
    def ended(self) -> int:
        return self.right.total() + self.errors.total() + self.lost + len(self.wrong)

    @asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator["JudgingLoad"]:
        """Ask for as long as the block lasts; all have their answers at its end."""
        tasks = [asyncio.create_task(self._client()) for _ in range(clients)]
        try:
            yield self
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)
        assert not self.wrong, self
        assert self.ended == self.asked, self

    @asynccontextmanager
    async def with_leavers(self, clients: int, within_s: float = 0.03) -> AsyncIterator[None]:
        """Other clients, who ask and break off before or within the answer; nobody judges what they get."""
        tasks = [asyncio.create_task(self._leaver(within_s)) for _ in range(clients)]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def more(self, count: int, within_s: float = 30) -> None:
        """Wait until so many more requests have ended."""
        wanted = self.ended + count
        await until(lambda: self.ended >= wanted, within_s)

    async def more_right(self, count: int, name: str = "", within_s: float = 30) -> None:
        """Wait until so many more requests were answered well, by that server."""

        def good() -> int:
            return self.right[name] if name else self.right.total()

        wanted = good() + count
        await until(lambda: good() >= wanted, within_s)

    async def _client(self) -> None:
        wire: Wire | None = None
        while not self._stopping:
            wire = await self._ask(wire)
            if self._think_s:
                await asyncio.sleep(self._random.random() * 2 * self._think_s)
        if wire is not None:
            wire.close()

    async def _leaver(self, within_s: float) -> None:
        while not self._stopping:
            self.left += 1
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                request = self._request("left")
                writer.write(request[: self._random.choice((len(request), len(request) * 2 // 3))])
                await asyncio.sleep(self._random.random() * within_s)
                writer.transport.abort()

    async def _ask(self, wire: Wire | None) -> Wire | None:
        """One request; the connection, if it is still good."""
        self.asked += 1
        number = str(self.asked)
        began = time.monotonic()
        head: Message | None = None
        try:
            async with asyncio.timeout(self._within_s):
                wire = wire or Wire(*await asyncio.open_connection("127.0.0.1", self._port, limit=LIMIT_BYTES))
                wire.writer.write(self._request(number))
                head = parse_head(await wire.reader.readuntil(b"\r\n\r\n"))
                head.body = await wire.reader.readexactly(int(head.get("content-length") or 0))
        except TimeoutError:
            self.wrong.append(f"{number}: no end within {self._within_s:g} s")
        except (OSError, asyncio.IncompleteReadError):
            if head is None:
                self.lost += 1
            else:
                self.errors["cut"] += 1
        else:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if self._judge(number, head) and head.get("connection") != "close":
                return wire
        if wire is not None:
            wire.writer.transport.abort()
        return None

    def _judge(self, number: str, answer: Message) -> bool:
        """Whether the connection is as it should be."""
        if b'"flag"' in answer.body:
            error = json.loads(answer.body)["error"]
            self.errors[error["flag"]] += 1
            if error["status"] != answer.status or answer.status < 500:
                self.wrong.append(f"{number}: {answer}")
            return True
        name, _, rest = answer.body.decode().partition(" ")
        if rest.partition(" ")[0] != number:
            self.wrong.append(f"{number}: {answer}")
            return False
        if answer.status == 200:
            self.right[name] += 1
        else:
            self.errors[f"status {answer.status}"] += 1
        return True

    def _request(self, number: str) -> bytes:
        size = self._random.choice(self._sizes)
        lines = [f"POST {self._path} HTTP/1.1", "Host: model.test", f"X-Id: {number}", f"Content-Length: {size}"]
        return "\r\n".join([*lines, self._fields, "", ""] if self._fields else [*lines, "", ""]).encode() + bytes(size)


def load_on(port: int) -> JudgingLoad:
    """Some hundred requests a second, of clients with 10 ms between an answer and the next request."""
    return JudgingLoad(port, within_s=10, sizes=(100, 2_000), think_s=0.01)
