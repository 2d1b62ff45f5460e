"""One active check over the network: HTTP requests in a row, or a TCP connection.

Rules:

* Each request has a connection of its own, so that no idle one that its server closed counts as a failure (uvicorn
  closes after 5 s, which is also the default interval). Envoy reuses them by default.
* Redirects are not followed, cookies not kept, the environment's proxies not used. An answer is read to its end, or
  up to `MAX_BODY_BYTES`, within the timeout.
* Whatever the other side does is a Result, not an exception.
"""

import asyncio
import time
from collections.abc import Callable

import aiohttp
from yarl import URL

from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.supervisor.health.thresholds import Result
from turnout.proxy.supervisor.options import Address
from turnout.rules.resilience import HealthCheck, Probe

FindTls = Callable[[], UpstreamContext | None]
"""Gives the TLS of an endpoint as it is now; may raise ssl.SSLError."""
MAX_BODY_BYTES = 4 << 20
USER_AGENT = "turnout-health-check"


class Prober:
    """Asks endpoints. `close` when no check is under way any more."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def check(self, config: HealthCheck, address: Address, tls: FindTls = lambda: None) -> Result:
        """All of a health check but the warm one; `timeout_s` is for all requests together."""
        if not config.http:
            return await _connect(address, config.timeout_s, tls)
        started = time.monotonic()
        for probe in config.http:
            result = await self.ask(probe, address, max(0.001, config.timeout_s - (time.monotonic() - started)), tls)
            if not result.passed:
                return result
        return result

    async def ask(self, probe: Probe, address: Address, timeout_s: float, tls: FindTls = lambda: None) -> Result:
        """One request."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._request(probe, address, tls())
        except TimeoutError:
            return Result("unanswered", f"{probe.path}: no answer within {timeout_s:.3g} s", timeout_s)
        # ValueError: a head or an URL that cannot be sent, or an answer that cannot be read.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Result("unanswered", f"{probe.path}: {_describe(error)}", time.monotonic() - started)
        took_s = time.monotonic() - started
        if any(start <= status < end for start, end in probe.expect):
            return Result("passed", f"{probe.path}: status {status}", took_s)
        return Result("refused", f"{probe.path}: status {status}", took_s)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _request(self, probe: Probe, address: Address, tls: UpstreamContext | None) -> int:
        if self._session is None:
            self._session = _make_session()
        headers = {"host": probe.host or str(address), "user-agent": USER_AGENT}
        if probe.body:
            headers["content-type"] = "application/json"
        headers |= {name.lower(): value for name, value in probe.headers}
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


async def _connect(address: Address, timeout_s: float, tls: FindTls) -> Result:
    started = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await _open(address, tls())
    except TimeoutError:
        return Result("unanswered", f"not connected within {timeout_s:g} s", timeout_s)
    except OSError as error:
        return Result("unanswered", _describe(error), time.monotonic() - started)
    writer.close()
    return Result("passed", "connected", time.monotonic() - started)


async def _open(address: Address, tls: UpstreamContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if tls is None:
        return await asyncio.open_connection(*address)
    return await asyncio.open_connection(*address, ssl=tls.context, server_hostname=tls.server_name)


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
