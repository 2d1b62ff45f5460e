"""One active check over the network: HTTP requests or gRPC calls in a row, or a TCP connection.

Rules:

* Each request has a connection of its own, so that no idle one that its server closed counts as a failure (uvicorn
  closes after 5 s, which is also the default interval). Envoy reuses them by default.
* A gRPC call is well if its status is OK, and its message says so (`predictors.grpc_health`). An answer that says
  anything else is one: the server was asked and said no (Envoy, too, does not wait for more of them).
* Redirects are not followed, cookies not kept, the environment's proxies not used. An answer is read to its end, or
  up to `MAX_BODY_BYTES`, within the timeout.
* Whatever the other side does is a Result, not an exception.
"""

import asyncio
import time
from collections.abc import Callable

import aiohttp
from yarl import URL

from turnout.predictors import grpc_health
from turnout.proxy.http import grpc
from turnout.proxy.http.head import Fields, ResponseHead
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.supervisor.health import http2
from turnout.proxy.supervisor.health.thresholds import Result
from turnout.proxy.supervisor.options import Address
from turnout.rules.resilience import GrpcCall, GrpcProbe, HealthCheck, Probe

FindTls = Callable[[], UpstreamContext | None]
"""Gives the TLS of an endpoint as it is now; may raise ssl.SSLError."""
MAX_BODY_BYTES = 4 << 20
USER_AGENT = "turnout-health-check"
_CALLS = {"health": grpc_health.HEALTH, "server": grpc_health.SERVER_READY, "model": grpc_health.MODEL_READY}


class Prober:
    """Asks endpoints. `close` when no check is under way any more."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def check(self, config: HealthCheck, address: Address, tls: FindTls = lambda: None) -> Result:
        """All of a health check but the warm one; `timeout_s` is for all requests together."""
        if not config.http and not config.grpc:
            return await _connect(address, config.timeout_s, tls)
        started = time.monotonic()
        probes: tuple[Probe | GrpcProbe, ...] = (*config.http, *config.grpc)
        for probe in probes:
            result = await self.ask(probe, address, max(0.001, config.timeout_s - (time.monotonic() - started)), tls)
            if not result.passed:
                return result
        return result

    async def warm(self, config: HealthCheck, address: Address, tls: FindTls = lambda: None) -> Result:
        """The warm check, of a config that has one."""
        probe = config.warm_call or config.warm
        assert probe is not None
        return await self.ask(probe, address, config.warm_timeout_s, tls)

    async def ask(
        self, probe: Probe | GrpcProbe | GrpcCall, address: Address, timeout_s: float, tls: FindTls = lambda: None
    ) -> Result:
        """One request."""
        started = time.monotonic()
        name = probe.path if isinstance(probe, Probe) else _path_of(probe)
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(probe, Probe):
                    is_well, said = await self._ask_http(probe, address, tls())
                else:
                    is_well, said = await _ask_grpc(probe, address, timeout_s, tls())
        except TimeoutError:
            return Result("unanswered", f"{name}: no answer within {timeout_s:.3g} s", timeout_s)
        # ValueError: a head or an URL that cannot be sent, or an answer that cannot be read (ProtocolError).
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Result("unanswered", f"{name}: {_describe(error)}", time.monotonic() - started)
        return Result("passed" if is_well else "refused", f"{name}: {said}", time.monotonic() - started)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask_http(self, probe: Probe, address: Address, tls: UpstreamContext | None) -> tuple[bool, str]:
        headers = {"user-agent": USER_AGENT}
        if probe.body:
            headers["content-type"] = "application/json"
        headers |= {name.lower(): value for name, value in probe.headers}
        host = headers.pop("host", "") or probe.host or str(address)
        if probe.http2:
            head = _make_head(probe.method, host, probe.path, headers, tls)
            status = (await http2.ask(address, tls, head, probe.body.encode(), MAX_BODY_BYTES)).status
        else:
            status = await self._request(probe, address, {"host": host, **headers}, tls)
        return any(start <= status < end for start, end in probe.expect), f"status {status}"

    async def _request(
        self, probe: Probe, address: Address, headers: dict[str, str], tls: UpstreamContext | None
    ) -> int:
        if self._session is None:
            self._session = _make_session()
        url = URL(f"{'http' if tls is None else 'https'}://{address}{probe.path}", encoded=True)
        body = probe.body.encode() if probe.body else None
        async with self._session.request(
            probe.method, url, headers=headers, data=body, allow_redirects=False,
            ssl=True if tls is None else tls.context, server_hostname=(tls and tls.server_name) or None,
        ) as answer:  # fmt: skip
            read = 0
            async for chunk in answer.content.iter_any():
                read += len(chunk)
                if read > MAX_BODY_BYTES:
                    break
            return answer.status


def _make_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "content-type"),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


def _path_of(probe: GrpcProbe | GrpcCall) -> str:
    return probe.path if isinstance(probe, GrpcCall) else _CALLS[probe.asks]


async def _ask_grpc(
    probe: GrpcProbe | GrpcCall, address: Address, timeout_s: float, tls: UpstreamContext | None
) -> tuple[bool, str]:
    """Whether the answer is a good one, and what it said. Raises ValueError for one that can't be read."""
    is_call = isinstance(probe, GrpcCall)
    fields = {
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-timeout": grpc.encode_timeout(timeout_s).decode(),
        "user-agent": USER_AGENT,
        **{name.lower(): value for name, value in probe.metadata},
    }
    message = probe.message if isinstance(probe, GrpcCall) else grpc_health.encode_name(probe.name)
    authority = "" if isinstance(probe, GrpcCall) else probe.authority
    head = _make_head("POST", authority or str(address), f"/{_path_of(probe)}", fields, tls)
    answer = await http2.ask(address, tls, head, grpc_health.frame(message), MAX_BODY_BYTES)
    status = grpc.read_status(ResponseHead(answer.fields, answer.status), answer.trailers)
    if status is not grpc.GrpcStatus.OK or is_call:
        return status is grpc.GrpcStatus.OK, status.name
    return _read_state(probe, answer.body)


def _read_state(probe: GrpcProbe | GrpcCall, body: bytes) -> tuple[bool, str]:
    state = grpc_health.read_state(grpc_health.read_frame(body))
    if isinstance(probe, GrpcProbe) and probe.asks == "health":
        names = grpc_health.SERVING_STATUSES
        return state == 1, names[state] if state < len(names) else f"status {state}"
    return state != 0, "ready" if state else "not ready"


def _make_head(method: str, authority: str, path: str, headers: dict[str, str], tls: UpstreamContext | None) -> Fields:
    """Raises ValueError for what can't be sent."""
    head = {
        ":method": method,
        ":scheme": "http" if tls is None else "https",
        ":authority": authority,
        ":path": path,
        **headers,
    }
    return [(name.encode("ascii"), value.encode()) for name, value in head.items()]


async def _connect(address: Address, timeout_s: float, tls: FindTls) -> Result:
    started = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await http2.connect(address, tls())
    except TimeoutError:
        return Result("unanswered", f"not connected within {timeout_s:g} s", timeout_s)
    except OSError as error:
        return Result("unanswered", _describe(error), time.monotonic() - started)
    writer.close()
    return Result("passed", "connected", time.monotonic() - started)


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
