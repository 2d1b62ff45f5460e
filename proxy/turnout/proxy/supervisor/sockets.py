"""The listening sockets of a proxy, one per listener and worker slot.

Rules:

* The supervisor makes every listening socket, keeps it open while its listener lives, and hands it down. So
  a worker may die and be replaced while connections wait in the queue of its socket.
* A port is checked by a plain bind first: binding a taken port with SO_REUSEPORT succeeds in silence.
* Sockets belong to an address, not to a listener's name: a listener that is renamed keeps its socket.
* Change in two steps: `prepare` opens what is new and may fail, `commit` swaps and closes what is old.
"""

import socket
from collections.abc import Iterable, Sequence

import msgspec

from turnout.proxy.supervisor.options import Address
from turnout.rules.snapshot import Listener

BACKLOG = 4096
"""Asked for; the kernel takes at most net.core.somaxconn."""


class BindError(Exception):
    """An address that can't be listened on, with the reason. The text is one line for the operator."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")


class Bound(msgspec.Struct):
    """The sockets of one listener: `wanted` as configured, `address` as bound, one socket a slot."""

    name: str
    wanted: Address
    address: Address
    sockets: list[socket.socket]


class Change(msgspec.Struct):
    """What a new configuration does to the listeners. `closing` are addresses that nobody wants any more."""

    listeners: dict[str, Bound]
    added: list[Bound]
    removed: list[str]
    opened: list[Bound]
    closing: list[Bound]


class Sockets:
    """All listening sockets of the data plane."""

    def __init__(self, default: Address, slots: int, inherited: Iterable[Bound] = ()) -> None:
        self._default = default
        self._slots = slots
        self._listeners: dict[str, Bound] = {}
        self._bound: dict[Address, Bound] = {}
        for bound in inherited:
            _fit(bound, slots)
            self._bound[bound.wanted] = bound

    @property
    def listeners(self) -> dict[str, Bound]:
        """The listeners that are configured now, by name."""
        return self._listeners

    def prepare(self, listeners: Sequence[Listener]) -> Change:
        """Open what `listeners` need and say what changes. Raises BindError, and then nothing has changed."""
        change = Change({}, [], [], [], [])
        try:
            for listener in listeners:
                wanted = Address(listener.address or self._default.host, listener.port or self._default.port)
                bound = self._bound.get(wanted)
                if bound is None:
                    bound = open_sockets(listener.name, wanted, self._slots)
                    change.opened.append(bound)
                change.listeners[listener.name] = msgspec.structs.replace(bound, name=listener.name)
        except BindError:
            self.abandon(change)
            raise
        for name, bound in change.listeners.items():
            old = self._listeners.get(name)
            if old is None or old.wanted != bound.wanted:
                change.added.append(bound)
        wanted_now = {name: bound.wanted for name, bound in change.listeners.items()}
        change.removed = [n for n, old in self._listeners.items() if wanted_now.get(n) != old.wanted]
        change.closing = [b for wanted, b in self._bound.items() if wanted not in wanted_now.values()]
        return change

    def commit(self, change: Change) -> None:
        """Make a change the present state. Workers have to be told of it before."""
        self._listeners = change.listeners
        for bound in change.closing:
            del self._bound[bound.wanted]
            _close(bound)
        for bound in change.listeners.values():
            self._bound[bound.wanted] = bound

    def abandon(self, change: Change) -> None:
        """Close what `prepare` opened."""
        for bound in change.opened:
            _close(bound)

    def bound(self) -> list[Bound]:
        """Every address that is bound now, once."""
        return list(self._bound.values())

    def close(self) -> None:
        """Close everything; what workers still hold stays theirs."""
        for bound in self._bound.values():
            _close(bound)
        self._bound.clear()


def open_sockets(name: str, wanted: Address, slots: int) -> Bound:
    """Check the port, then bind one SO_REUSEPORT socket a slot. With port 0 all share the port of the first."""
    open_socket(wanted).close()
    sockets: list[socket.socket] = []
    address = wanted
    try:
        for _ in range(slots):
            sockets.append(open_socket(address, reuse_port=True))
            address = Address(wanted.host, sockets[0].getsockname()[1])
    except BindError:
        for sock in sockets:
            sock.close()
        raise
    return Bound(name, wanted, address, sockets)


def open_socket(address: Address, reuse_port: bool = False) -> socket.socket:
    """One listening, non-blocking TCP socket. Raises BindError."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BindError(address, _reason(error)) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(target)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise BindError(address, _reason(error)) from error
    return sock


def _fit(bound: Bound, slots: int) -> None:
    """Give an inherited listener as many sockets as there are slots."""
    while len(bound.sockets) < slots:
        bound.sockets.append(open_socket(bound.address, reuse_port=True))
    for sock in bound.sockets[slots:]:
        sock.close()
    del bound.sockets[slots:]


def _close(bound: Bound) -> None:
    for sock in bound.sockets:
        sock.close()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
