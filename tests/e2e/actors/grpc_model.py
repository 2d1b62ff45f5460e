"""A program: a gRPC server that does what its caller asks for, in a process of its own, so that it can be killed.

`python grpc_model.py NAME PORT` prints its port. Its methods, of `test.Calls`, take and give bytes:

| method | kind | what it does |
|---|---|---|
| `Echo` | unary | its request |
| `Name` | unary | its name |
| `Expand` | server streaming | the messages of a JSON list of sizes |
| `Join` | client streaming | all requests in one |
| `Talk` | bidirectional | each request, as it comes |
| `Fail` | unary | aborts as its metadata say: `code`, `details`; `head-first` sends the head before |
| `FailAt` | unary | as `Fail`, but only where the metadata `at` is its name; else its name |
| `FailBehind` | server streaming | one message, then as `Fail` |
| `Hang` | bidirectional | gives each request back, and never ends |
| `Left` | unary | how long the client will wait, seconds, as JSON |
| `Tell` | unary | the metadata it got, as JSON; binary ones in hexadecimal |
| `Set` | unary | what the health calls answer, by path, as JSON |
| `Seen` | unary | as JSON: how often each method was called, how many calls were cancelled and are running |

Unary calls give initial metadata `server: NAME` and trailing `x-bin-bin`. `ModelInfer` of the Open Inference Protocol
is `Name`; its other calls, and those of `grpc.health.v1.Health`, answer what `Set` was told.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

TRAILING = b"\x00\xffend"
LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0))
CODES = {code.name: code for code in grpc.StatusCode}


class Model:
    """The methods, and what they saw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.called: Counter[str] = Counter()
        self.cancelled = self.running = 0
        self.health: dict[str, Any] = {}
        """By path: the answer's bytes in hexadecimal, or the name of a status."""
        self.asked: list[dict[str, Any]] = []
        """What the health calls were asked."""

    async def echo(self, request: bytes, context: Any) -> bytes:
        return request

    async def tell_name(self, request: bytes, context: Any) -> bytes:
        return self.name.encode()

    async def expand(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for size in json.loads(request):
            yield bytes(size)

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def fail(self, request: bytes, context: Any) -> bytes:
        told = metadata(context)
        if "head-first" in told:
            await context.send_initial_metadata((("server", self.name),))
        await context.abort(CODES[told["code"]], told.get("details", ""), (("x-why", "asked"),))
        raise AssertionError("abort raises")

    async def fail_at(self, request: bytes, context: Any) -> bytes:
        return await self.fail(request, context) if metadata(context)["at"] == self.name else self.name.encode()

    async def fail_behind(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield self.name.encode()
        yield await self.fail(request, context)

    async def hang(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
        await asyncio.Event().wait()

    async def left(self, request: bytes, context: Any) -> bytes:
        return json.dumps(context.time_remaining()).encode()

    async def tell(self, request: bytes, context: Any) -> bytes:
        pairs = [
            (key, value.hex() if isinstance(value, bytes) else value) for key, value in context.invocation_metadata()
        ]
        return json.dumps(pairs).encode()

    async def seen(self, request: bytes, context: Any) -> bytes:
        told = {"called": self.called, "cancelled": self.cancelled, "running": self.running - 1, "asked": self.asked}
        return json.dumps(told).encode()

    async def set(self, request: bytes, context: Any) -> bytes:
        self.health = json.loads(request)
        return b""

    async def be_asked(self, path: str, request: bytes, context: Any) -> bytes:
        self.asked.append({"path": path, "request": request.hex(), **metadata(context)})
        answer = self.health.get(path, "UNIMPLEMENTED")
        if answer == "HANG":
            await asyncio.Event().wait()
        if answer in CODES:
            await context.abort(CODES[answer])
        return bytes.fromhex(answer)


def metadata(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}


class Handler(grpc.GenericRpcHandler):
    """Methods by path. All take and give bytes."""

    def __init__(self, model: Model) -> None:
        self._model = model
        unary, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        both = grpc.stream_stream_rpc_method_handler
        self._methods: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "Echo": (unary, model.echo), "Name": (unary, model.tell_name), "Expand": (many, model.expand),
            "Join": (grpc.stream_unary_rpc_method_handler, model.join), "Talk": (both, model.talk),
            "Fail": (unary, model.fail), "FailAt": (unary, model.fail_at), "FailBehind": (many, model.fail_behind),
            "Hang": (both, model.hang), "Left": (unary, model.left), "Tell": (unary, model.tell),
            "Seen": (unary, model.seen), "Set": (unary, model.set),
        }  # fmt: skip

    def service(self, details: Any) -> Any:
        service, _, method = details.method[1:].partition("/")
        if service == "test.Calls" and method in self._methods:
            make, do = self._methods[method]
            return make(self._counted(method, do, make is grpc.unary_unary_rpc_method_handler))
        if details.method == "/inference.GRPCInferenceService/ModelInfer" and details.method not in self._model.health:
            return grpc.unary_unary_rpc_method_handler(self._counted("ModelInfer", self._model.tell_name, True))
        if service in ("grpc.health.v1.Health", "inference.GRPCInferenceService"):

            async def be_asked(request: bytes, context: Any) -> bytes:
                return await self._model.be_asked(details.method, request, context)

            return grpc.unary_unary_rpc_method_handler(be_asked)
        return None

    def _counted(self, method: str, do: Callable[..., Any], says_who: bool) -> Callable[..., Any]:
        model = self._model

        def begin(context: Any) -> None:
            model.called[method] += 1
            model.running += 1
            if says_who:
                context.set_trailing_metadata((("x-bin-bin", TRAILING),))

        async def once(request: Any, context: Any) -> Any:
            begin(context)
            try:
                if says_who and "fail" not in method.lower():
                    await context.send_initial_metadata((("server", model.name),))
                return await do(request, context)
            except asyncio.CancelledError:
                model.cancelled += 1
                raise
            finally:
                model.running -= 1

        async def often(request: Any, context: Any) -> AsyncIterator[bytes]:
            begin(context)
            try:
                async for message in do(request, context):
                    yield message
            except (asyncio.CancelledError, GeneratorExit):
                model.cancelled += 1
                raise
            finally:
                model.running -= 1

        return often if method in ("Expand", "Talk", "FailBehind", "Hang") else once


async def main(name: str, port: str) -> None:
    server = grpc.aio.server(options=LIMITS)
    server.add_generic_rpc_handlers((Handler(Model(name)),))
    print(server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    await server.start()
    # Told to end it says GOAWAY, and lets what is under way go on for a while.
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(5)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
