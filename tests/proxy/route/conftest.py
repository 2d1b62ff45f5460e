"""Tables and heads in one line."""

from collections.abc import Callable
from typing import Any

import pytest

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.layout import route_keys
from turnout.rules.snapshot import Listener, Route, Snapshot, VirtualHost

MakeTable = Callable[..., Table]
MakeHead = Callable[..., RequestHead]


@pytest.fixture(scope="session")
def make_head() -> MakeHead:
    """`make_head("POST /a?b host", x="y", x_z="1")`: the method and the host may be left out, `_` in names is `-`."""

    def make(text: str = "/", *fields: tuple[bytes, bytes], **headers: str) -> RequestHead:
        words = text.split(" ")
        method = words.pop(0) if words[0].isalpha() else "GET"
        target, authority = words[0], words[1] if len(words) > 1 else "h.example"
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        head = RequestHead([*fields, *named])
        path, mark, query = target.partition("?")
        head.method, head.path, head.query = method.encode(), path.encode(), query.encode() if mark else None
        literal, bracket, _ = authority.partition("]")
        head.authority, head.host = authority.encode(), literal + bracket if bracket else literal.partition(":")[0]
        return head

    return make


@pytest.fixture(scope="session")
def make_table() -> MakeTable:
    """A table of routes for every host, or of `hosts`: {domain, or several with blanks between: routes}; `more` are
    further arguments of Table."""

    def make(
        *routes: Route, hosts: dict[str, tuple[Route, ...]] | None = None, missing: tuple[str, ...] = (), **more: Any
    ) -> Table:
        virtual = tuple(VirtualHost(d, tuple(d.split()), r) for d, r in (hosts or {"*": routes}).items())
        listener = Listener("default", virtual)
        return Table(listener, missing, dict.fromkeys(route_keys(Snapshot((listener,))), 0), **more)

    return make
