"""What the admin interface tells of a proxy's health: events, states of endpoints, and whether it is at rest."""

import json
import re
import time
from typing import Any

from actors.model_process import ModelProcess
from actors.proxy import Proxy, until

GAUGES = re.compile(
    r"^(turnout_(?:active_requests|tunnels|downstream_connections|upstream_active_requests|upstream_connections"
    r"|predictor_(?:active_requests|pending_requests|connections|active_retries))(?:\{[^}]*\})?) (\S+)$",
    re.MULTILINE,
)
FALLING = ("active", "connections_active", "pending", "connections", "retries_active", "tunnels_active")


async def clusters(proxy: Proxy) -> list[dict[str, Any]]:
    """Those of /clusters."""
    return json.loads((await proxy.admin("/clusters"))[1])["clusters"]


async def cluster(proxy: Proxy) -> dict[str, Any]:
    """The only one."""
    (only,) = await clusters(proxy)
    return only


async def endpoint(proxy: Proxy, model: ModelProcess) -> dict[str, Any]:
    """What /clusters tells of an endpoint."""
    return next(e for c in await clusters(proxy) for e in c["endpoints"] if e["port"] == model.port)


async def states(proxy: Proxy) -> dict[int, str]:
    """The state of each endpoint, by port."""
    return {e["port"]: e["state"] for c in await clusters(proxy) for e in c["endpoints"]}


async def is_in(proxy: Proxy, model: ModelProcess, state: str, within_s: float = 20) -> None:
    """Wait until an endpoint is in a state."""

    async def holds() -> bool:
        return (await states(proxy))[model.port] == state

    await until(holds, within_s)


async def events(proxy: Proxy, **wanted: Any) -> list[dict[str, Any]]:
    """The events with these fields, the newest last."""
    found = json.loads((await proxy.admin("/events"))[1])["events"]
    return [event for event in found if all(event[name] == value for name, value in wanted.items())]


async def happened(proxy: Proxy, model: ModelProcess, what: str, why: str = "", count: int = 1) -> dict[str, Any]:
    """Wait until something happened to an endpoint so many times; the last such event. Long counts take long."""

    async def find() -> dict[str, Any] | None:
        found = await events(proxy, endpoint=model.address, what=what, why=why)
        return found[-1] if len(found) >= count else None

    return await until(find, 20 + count)


async def busy(proxy: Proxy) -> dict[str, float]:
    """All that falls as well as rises and is not zero, in /metrics, /clusters and /stats."""
    found = {f"metrics {name}": float(value) for name, value in GAUGES.findall((await proxy.admin("/metrics"))[1])}
    for known in await clusters(proxy):
        rows = {"": known["counts"], **{str(e["port"]): e for e in known["endpoints"]}}
        rows |= {f"limit {name}": {"active": limit["used"]} for name, limit in known["limits"].items()}
        for place, row in rows.items():
            found |= {f"clusters {known['name']} {place} {name}": row[name] for name in FALLING if name in row}
    process = (await proxy.stats())["process"]
    found |= {f"stats {name}": process[name] for name in FALLING if name in process}
    assert len(found) > 10, "these are all gauges"
    return {name: value for name, value in found.items() if value}


async def at_rest(proxy: Proxy, within_s: float = 15) -> None:
    """Wait until every gauge is zero; what is not, if that does not come."""
    end = time.monotonic() + within_s
    while left := await busy(proxy):
        assert time.monotonic() < end, left
