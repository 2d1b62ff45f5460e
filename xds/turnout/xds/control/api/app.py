"""The REST API of the control plane, over a registry and its store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
from aiohttp import web

from turnout.rules.documents.document import KINDS
from turnout.xds.control.api import messages as m
from turnout.xds.control.api.guard import BadRequest, make_guard
from turnout.xds.control.api.openapi import openapi
from turnout.xds.control.api.operations import JSON, OPERATIONS
from turnout.xds.control.ledger import Signature, Text
from turnout.xds.control.registry import Registry
from turnout.xds.store.objects import Key
from turnout.xds.store.refusal import Refusal
from turnout.xds.store.states import State
from turnout.xds.store.store import Store
from turnout.xds.store.words import tell_changes

MAX_BODY_BYTES = 32 * 1024 * 1024
"""About 100,000 rules."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_KINDS = {kind.lower(): kind for _, kind in KINDS}

B = TypeVar("B", bound=m.Request)


class Plane(Protocol):
    """What the API asks about the rest of the control plane."""

    def why_not_ready(self) -> str:
        """Empty: it is ready."""
        ...

    def published(self) -> str:
        """The hash of the state that proxies are told."""
        ...

    def proxies(self) -> list[m.ProxyInfo]:
        """All that are connected."""
        ...

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
        ...


class Api:
    """The handlers; `app` is the application to serve."""

    def __init__(self, plane: Plane, registry: Registry, store: Store, token: str | None) -> None:
        self._plane = plane
        self._registry = registry
        self._store = store
        self.app = web.Application(middlewares=[make_guard(token)], client_max_size=MAX_BODY_BYTES)
        handlers: dict[str, Callable[[web.Request], Awaitable[m.Answer]]] = {
            "listObjects": self._list_objects,
            "getObject": self._get_object,
            "deleteObject": self._delete_object,
            "apply": self._apply,
            "listStates": self._list_states,
            "diff": self._diff,
            "rollback": self._rollback,
            "resume": self._resume,
            "status": self._status,
        }
        for operation in OPERATIONS:
            self.app.router.add_route(operation.method, operation.path, _answering(handlers[operation.name]))
        self.app.router.add_get("/openapi.json", self._openapi)
        self.app.router.add_get("/ready", self._ready)
        self.app.router.add_get("/live", self._live)
        self.app.router.add_get("/metrics", self._metrics)

    # Objects

    async def _list_objects(self, request: web.Request) -> m.ObjectList:
        kind, namespace = request.query.get("kind"), request.query.get("namespace")
        wanted = kind and _kind(kind)
        objects = self._registry.ledger.objects
        items = [
            m.object_info(item)
            for key, item in sorted(objects.items())
            if wanted in (None, "", key.kind) and namespace in (None, "", key.namespace)
        ]
        return m.ObjectList(items=items)

    async def _get_object(self, request: web.Request) -> m.ObjectInfo:
        key = _key(request)
        item = self._registry.ledger.objects.get(key)
        if item is None:
            raise Refusal("not-found", f"there is no {key}")
        return m.object_info(item)

    async def _delete_object(self, request: web.Request) -> m.StateAnswer:
        key, base = _key(request), request.query.get("resourceVersion")
        who = m.Request(author=_line(request, "author"), message=_line(request, "message"))
        state = await self._registry.delete(key, base, _signature(who, f"{key} deleted"))
        return m.StateAnswer(state=m.state_info(state))

    async def _apply(self, request: web.Request) -> m.ApplyAnswer:
        asked = await _read(request, m.ApplyRequest)
        texts = [Text(file.name, file.text) for file in asked.files]
        names = ", ".join(text.name for text in texts[:3]) + " …" * (len(texts) > 3)
        before = self._registry.ledger.objects
        outcome = await self._registry.apply(texts, _signature(asked, f"{names} applied"))
        objects = [
            m.Outcome(
                **key._asdict(),
                outcome=("changed" if key in before else "created") if key in outcome.change else "unchanged",
                resource_version=str(outcome.accepted.objects[key].version),
            )
            for key in outcome.given
        ]
        return m.ApplyAnswer(
            state=m.state_info(outcome.accepted.state),
            objects=objects,
            warnings=[m.finding(x) for x in self._registry.ledger.warnings],
        )

    # States

    async def _list_states(self, request: web.Request) -> m.HistoryAnswer:
        limit = _number(request, "limit", 1000) or 100
        states = await asyncio.to_thread(self._store.history, limit, _number(request, "before", 2**31))
        accepted, pinned = self._registry.accepted, self._registry.ledger.pinned
        return m.HistoryAnswer(
            states=[m.state_info(state) for state in states],
            current=accepted.state.number if accepted else None,
            pinned=pinned.number if pinned else None,
        )

    async def _diff(self, request: web.Request) -> m.DiffAnswer:
        names = [request.query.get(side, "") for side in ("before", "after")]
        before, after, changes = await asyncio.to_thread(self._compare, *names)
        return m.DiffAnswer(before=m.state_info(before), after=m.state_info(after), changes=changes)

    async def _rollback(self, request: web.Request) -> m.RollbackAnswer:
        asked = await _read(request, m.RollbackRequest)
        signature = _signature(asked, f"rolled back to {asked.state}")
        target, state = await self._registry.roll_back(asked.state, signature)
        return m.RollbackAnswer(state=m.state_info(state), target=m.state_info(target))

    async def _resume(self, request: web.Request) -> m.StateAnswer:
        asked = await _read(request, m.Request)
        state = await self._registry.resume(_signature(asked, "resumed"))
        return m.StateAnswer(state=m.state_info(state))

    def _compare(self, before: str, after: str) -> tuple[State, State, list[str]]:
        first, second = self._store.find_state(before), self._store.find_state(after)
        return first, second, tell_changes(self._store.objects_at(first), self._store.objects_at(second))

    # The control plane itself

    async def _status(self, request: web.Request) -> m.StatusAnswer:
        ledger, accepted = self._registry.ledger, self._registry.accepted
        pinned, held = ledger.pinned, ledger.held
        return m.StatusAnswer(
            state=m.state_info(accepted.state) if accepted else None,
            published=self._plane.published(),
            not_ready=self._plane.why_not_ready(),
            pinned=m.state_info(pinned) if pinned else None,
            held=m.state_info(held) if held else None,
            file_errors=[m.finding(x) for x in ledger.file_faults],
            warnings=[m.finding(x) for x in ledger.warnings],
            proxies=self._plane.proxies(),
        )

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(openapi()), content_type=JSON)

    async def _ready(self, request: web.Request) -> web.Response:
        reason = self._plane.why_not_ready()
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ready\n")

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._plane.metrics(), headers={"Content-Type": METRICS_TYPE})


def _answering(
    handler: Callable[[web.Request], Awaitable[m.Answer]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(await handler(request)), content_type=JSON)

    return answer


async def _read(request: web.Request, kind: type[B]) -> B:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.MsgspecError as error:
        raise BadRequest(f"the body is not as the API wants it: {error}") from error


def _signature(asked: m.Request, message: str) -> Signature:
    return Signature(asked.author or "unknown", asked.message or message)


def _key(request: web.Request) -> Key:
    info = request.match_info
    return Key(_kind(info["kind"]), info["namespace"], info["name"])


def _kind(text: str) -> str:
    """A kind in any case, also with an s behind it, as kubectl takes it."""
    kind = _KINDS.get(text.lower()) or _KINDS.get(text.lower().removesuffix("s"))
    if kind is None:
        raise BadRequest(f"{text} is no kind; these are: {', '.join(dict.fromkeys(_KINDS.values()))}")
    return kind


def _line(request: web.Request, name: str) -> str:
    text = request.query.get(name, "")
    if len(text) > 1000:
        raise BadRequest(f"{name} has more than 1000 characters")
    return text


def _number(request: web.Request, name: str, most: int) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise BadRequest(f"{name}: {text!r} is not a number from 1 to {most}")
    return int(text)
