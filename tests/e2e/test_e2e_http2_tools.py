"""Other people's programs at both ends: curl, nghttp and h2load as clients; nghttpd, Envoy and HTTP/1 as upstreams."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from actors.body_echo import BodyEcho
from actors.envoy import Envoy, require_envoy
from actors.http2_server import Connection, Http2Server
from actors.proxy import Proxy, resident_kib, until
from actors.vitals import at_rest
from free_ports import free_port

SIZES = (0, 1, 65_535, 65_536, 1_000_007, 64 << 20)
MAX_GROWTH_KIB, MAX_RESIDENT_KIB = 65_536, 262_144
FILTERS = "type.googleapis.com/envoy.extensions.filters"
PREDICTOR = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec:
  protocol: {protocol}
  endpoints: [{{address: 127.0.0.1, port: {port}}}]
  connection: {{idleTimeout: 500ms}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  hostnames: [{name}.test]
  rules: [{{name: all, backendRefs: [{{name: {name}}}]}}]
---
"""
Tool = Callable[[str], str]
Start = Callable[..., Proxy]


async def run(*command: str) -> str:
    """What a program said; it has to end well, and soon."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out[-2_000:]
    return out.decode("utf-8", "replace")


@pytest.fixture
async def nghttpd(require_tool: Tool, tmp_path: Path) -> AsyncIterator[int]:
    """Its port. It sends bodies back, and serves `/file`."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "file").write_bytes(b"x" * 100_000)
    port = free_port()
    command = [
        require_tool("nghttpd"), "--no-tls", "-a", "127.0.0.1", "--echo-upload", "--trailer", "x-sum: 7",
        "-d", str(tmp_path / "docs"), str(port),
    ]  # fmt: skip
    nobody = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=nobody, stderr=nobody)
    try:
        await until(lambda: _listens(port))
        yield port
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
async def echo() -> AsyncIterator[BodyEcho]:
    async with BodyEcho() as upstream:
        yield upstream


@pytest.fixture
async def envoy(tmp_path: Path, echo: BodyEcho) -> AsyncIterator[int]:
    """The port of one that speaks h2c alone, before the HTTP/1 upstream."""
    require_envoy()
    port = free_port()
    real = Envoy(tmp_path / "envoy", json.dumps(envoy_bootstrap(port, echo.port)))
    try:
        await until(lambda: _listens(port))
        yield port
    finally:
        real.close()


def envoy_bootstrap(port: int, upstream: int) -> dict[str, object]:
    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"},
        }],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "echo", "timeout": "60s"}}],
        }]},
    }  # fmt: skip
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": address(upstream)}}
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{"name": "in", "address": address(port), "filter_chains": [chain]}],
            "clusters": [{
                "name": "echo", "type": "STATIC",
                "load_assignment": {"cluster_name": "echo", "endpoints": [{"lb_endpoints": [endpoint]}]},
            }],
        },
    }  # fmt: skip


@pytest.fixture
def proxy(start_proxy: Start, nghttpd: int, envoy: int, echo: BodyEcho) -> Proxy:
    """Hosts `nghttpd.test`, `envoy.test` and `http1.test`."""
    upstreams = {"nghttpd": ("h2c", nghttpd), "envoy": ("h2c", envoy), "http1": ("http1", echo.port)}
    rules = [PREDICTOR.format(name=name, protocol=way, port=port) for name, (way, port) in upstreams.items()]
    return start_proxy("".join(rules))


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Path]]:
    """A file of each size, of bytes that do not repeat."""
    folder = tmp_path_factory.mktemp("bodies")
    files = {size: folder / str(size) for size in SIZES}
    for size, file in files.items():
        file.write_bytes(random.Random(size).randbytes(size))
    yield files
    for file in files.values():
        file.unlink()


@pytest.mark.parametrize("upstream", ["http1", "nghttpd", "envoy"])
@pytest.mark.parametrize("client", ["--http1.1", "--http2-prior-knowledge"])
async def test_bodies_of_all_sizes_pass_unchanged_both_ways(
    proxy: Proxy, require_tool: Tool, bodies: dict[int, Path], tmp_path: Path, client: str, upstream: str
) -> None:
    curl, out = require_tool("curl"), tmp_path / "out"
    (worker,) = await proxy.workers()
    for size, file in bodies.items():
        for framing in ("Expect:", "Transfer-Encoding: chunked"):
            if client == "--http2-prior-knowledge" and framing != "Expect:":
                continue
            before = resident_kib(worker)
            await run(
                curl, "-sS", client, "-H", f"Host: {upstream}.test", "-H", framing, "--data-binary", f"@{file}",
                "-o", str(out), f"http://127.0.0.1:{proxy.port}/echo",
            )  # fmt: skip
            received = out.read_bytes() if out.exists() else b""
            assert received == file.read_bytes(), (size, framing, len(received))
            out.unlink(missing_ok=True)
            assert resident_kib(worker) - before < MAX_GROWTH_KIB
    await at_rest(proxy)


@pytest.mark.parametrize("upstream", ["http1", "nghttpd"])  # Envoy itself drops trailers towards HTTP/1
async def test_nghttp_uploads_with_trailers(
    proxy: Proxy, require_tool: Tool, bodies: dict[int, Path], upstream: str
) -> None:
    out = await run(
        require_tool("nghttp"), "-v", "--no-content-length", "-H", f":authority: {upstream}.test", "-H", "te: trailers",
        "--trailer", "x-own: 1", "-d", str(bodies[65_536]), f"http://127.0.0.1:{proxy.port}/echo",
    )  # fmt: skip
    assert ":status: 200" in out
    assert ("x-sum: 7" if upstream == "nghttpd" else "x-own: 1") in out.rpartition("recv DATA")[2]
    assert "RST_STREAM" not in out


@pytest.mark.parametrize("upstream", ["nghttpd", "envoy"])
async def test_h2load_gets_every_answer(proxy: Proxy, require_tool: Tool, upstream: str) -> None:
    out = await run(
        require_tool("h2load"), "-n", "5000", "-c", "10", "-m", "100", "-H", f":authority: {upstream}.test",
        f"http://127.0.0.1:{proxy.port}/file",
    )  # fmt: skip
    assert "5000 succeeded, 0 failed, 0 errored" in out
    assert "status codes: 5000 2xx" in out
    await at_rest(proxy)


async def test_ten_thousand_streams_at_a_time_end_right(start_proxy: Start, require_tool: Tool) -> None:
    held: list[tuple[Connection, int]] = []
    async with Http2Server() as upstream:
        upstream.on_request = lambda connection, stream, request: held.append((connection, stream))
        proxy = start_proxy(PREDICTOR.format(name="many", protocol="h2c", port=upstream.port))
        load = asyncio.create_task(
            run(
                require_tool("h2load"), "-n", "10000", "-c", "10", "-m", "1000", "-H", ":authority: many.test",
                f"http://127.0.0.1:{proxy.port}/",
            )
        )  # fmt: skip
        await until(lambda: len(held) == 10_000)
        assert upstream.open_connections == 100
        (worker,) = await proxy.workers()
        assert resident_kib(worker) < MAX_RESIDENT_KIB
        for connection, stream in held:
            connection.answer(stream, [(b":status", b"200")], b"all of us")
        out = await load
        assert "10000 succeeded, 0 failed, 0 errored" in out
        assert "status codes: 10000 2xx" in out
        assert "(90000) data" in out
        await at_rest(proxy)
