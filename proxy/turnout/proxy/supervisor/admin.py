"""The admin interface, over all workers as one: Envoy's paths, JSON where Envoy's are text.

Rules:

* GET only looks; what changes something is a POST, and one that a browser sends for a page (it has an Origin)
  is refused, so that no web page can drain the proxy behind its reader's back.
* On loopback the Host must be an address or `localhost`: a page whose name was made to resolve to 127.0.0.1
  (DNS rebinding) reads nothing here.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from turnout.proxy.supervisor.dns import is_ip_literal
from turnout.proxy.supervisor.dumps import Json, clusters_dump, config_dump, stats_dump
from turnout.proxy.supervisor.states.dumps import events_dump

if TYPE_CHECKING:
    from turnout.proxy.supervisor.supervisor import Supervisor

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STOP_TIMEOUT_S = 1.0


class Admin:
    """The HTTP server beside the data plane."""

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self._help: list[tuple[str, str, str]] = []
        app = web.Application(middlewares=[_guard])
        self._add(app, "GET", "/ready", self._ready, "200 if every worker serves, else 503 and the reason")
        self._add(app, "GET", "/live", self._live, "200 while the supervisor answers")
        self._add(app, "GET", "/metrics", self._metrics, "all counters, in Prometheus' text format")
        self._add(app, "GET", "/config_dump", self._config_dump, "the configuration that serves")
        self._add(
            app,
            "GET",
            "/clusters",
            self._clusters,
            "clusters with their limits, and their endpoints with states and counters",
        )
        self._add(app, "GET", "/events", self._events, "what was decided about endpoints, newest last")
        self._add(app, "GET", "/stats", self._stats, "all counters, as JSON")
        self._add(app, "POST", "/drain", self._drain, "stop accepting, end requests, exit")
        app.router.add_get("/", self._index)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)

    async def start(self, sock: socket.socket) -> None:
        """Serve on a listening socket."""
        await self._runner.setup()
        # The server closes the socket that it is given; a successor may need ours.
        await web.SockSite(self._runner, sock.dup()).start()

    async def stop(self) -> None:
        """Serve no more; the socket stays open."""
        await self._runner.cleanup()

    def _add(self, app: web.Application, method: str, path: str, handler: Handler, text: str) -> None:
        app.router.add_route(method, path, handler)
        self._help.append((method, path, text))

    # Handlers

    async def _index(self, request: web.Request) -> web.Response:
        lines = [f"{method:4} {path:14} {text}" for method, path, text in self._help]
        return web.Response(text="\n".join(lines) + "\n")

    async def _ready(self, request: web.Request) -> web.Response:
        reason = self._supervisor.why_not_ready()
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ready\n")

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        # Imported at the first scrape: a proxy that is not scraped need not hold it.
        from turnout.proxy.supervisor.metrics import render_metrics

        supervisor = self._supervisor
        records = list(supervisor.layout.records())
        # Off the loop: many routes make many lines.
        body = await asyncio.to_thread(render_metrics, supervisor.blocks.read(), records, supervisor.facts())
        return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})

    async def _config_dump(self, request: web.Request) -> web.Response:
        return _json(config_dump(self._supervisor.state, self._supervisor.source_dump()))

    async def _clusters(self, request: web.Request) -> web.Response:
        supervisor = self._supervisor
        served = supervisor.state.served
        clusters = served.loaded.snapshot.clusters if served else ()
        records = list(supervisor.layout.records())
        resolver = supervisor.configuration.resolver
        states = {known.config.name: known for known in supervisor.states.clusters()}
        counts = supervisor.blocks.read()
        return _json(clusters_dump(clusters, resolver, states, counts, records, time.monotonic()))

    async def _events(self, request: web.Request) -> web.Response:
        return _json(events_dump(self._supervisor.states.events))

    async def _stats(self, request: web.Request) -> web.Response:
        supervisor = self._supervisor
        numbers = {
            **{name: value for name, value in msgspec.structs.asdict(supervisor.facts()).items() if name != "states"},
            "draining": supervisor.state.draining,
            "workers": [
                {
                    "slot": worker.slot,
                    "pid": worker.pid,
                    "state": worker.state,
                    "configuration": worker.number,
                    "build": worker.build,
                }
                for worker in supervisor.pool.workers()
            ],
        }
        return _json(stats_dump(supervisor.blocks.read(), list(supervisor.layout.records()), numbers))

    async def _drain(self, request: web.Request) -> web.Response:
        # Once the answer is on its way.
        asyncio.get_running_loop().call_soon(self._supervisor.drain, "POST /drain")
        return web.Response(status=202, text="draining\n")


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in ("GET", "HEAD") and "Origin" in request.headers:
        raise web.HTTPForbidden(text="requests of web pages are refused\n")
    if _is_loopback(request) and not _is_literal(request.host):
        raise web.HTTPForbidden(text="the Host must be an address or localhost\n")
    return await handler(request)


def _is_loopback(request: web.Request) -> bool:
    name: Any = request.get_extra_info("sockname")
    return bool(name) and (str(name[0]).startswith("127.") or name[0] == "::1")


def _is_literal(host: str) -> bool:
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    return name == "localhost" or is_ip_literal(name)


def _json(value: Json) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
