"""Listening sockets: the check of the port, one socket a slot, and change in two steps."""

import socket

import pytest
from free_ports import free_port

from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.sockets import BindError, Sockets, open_sockets
from turnout.rules.snapshot import Listener

LOCAL = Address("127.0.0.1", 0)


def listener(name: str, address: str = "", port: int = 0) -> Listener:
    return Listener(name, (), address, port)


@pytest.fixture
def sockets():
    made = Sockets(LOCAL, 2)
    yield made
    made.close()


def apply(sockets: Sockets, *listeners: Listener):
    change = sockets.prepare(listeners)
    sockets.commit(change)
    return change


def test_port_0_gives_every_slot_the_same_port():
    bound = open_sockets("default", LOCAL, 3)
    assert {sock.getsockname() for sock in bound.sockets} == {tuple(bound.address)}
    assert bound.address.port != 0
    for sock in bound.sockets:
        sock.close()


def test_a_taken_port_is_refused_even_if_its_owner_shares_it():
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as owner:
        port = owner.getsockname()[1]
        with pytest.raises(BindError, match=rf"^cannot listen on 127.0.0.1:{port}: address already in use$"):
            open_sockets("default", Address("127.0.0.1", port), 1)


def test_an_ipv6_address_is_listened_on_and_written_in_brackets():
    try:
        bound = open_sockets("default", Address("::1", 0), 2)
    except BindError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert str(bound.address) == f"[::1]:{bound.address.port}"
    with socket.create_connection(bound.address):
        pass
    for sock in bound.sockets:
        sock.close()


def test_a_listener_without_address_takes_the_default_host_and_port(sockets):
    apply(sockets, listener("default"))
    assert sockets.listeners["default"].wanted == LOCAL


def test_nothing_changes_for_a_listener_that_stays(sockets):
    before = apply(sockets, listener("default")).listeners["default"].sockets
    change = apply(sockets, listener("default"))
    assert (change.added, change.removed, change.opened, change.closing) == ([], [], [], [])
    assert sockets.listeners["default"].sockets is before


def test_a_renamed_listener_keeps_its_sockets(sockets):
    before = apply(sockets, listener("default")).listeners["default"].sockets
    change = apply(sockets, listener("web"))
    assert change.removed == ["default"]
    assert [bound.name for bound in change.added] == ["web"]
    assert sockets.listeners["web"].sockets is before
    assert before[0].fileno() >= 0


def test_a_listener_that_moves_is_closed_only_after_the_commit(sockets):
    port = free_port()
    old = apply(sockets, listener("default")).listeners["default"]
    change = sockets.prepare([listener("default", port=port)])
    assert (change.removed, [bound.address.port for bound in change.added]) == (["default"], [port])
    assert old.sockets[0].fileno() >= 0
    sockets.commit(change)
    assert old.sockets[0].fileno() < 0


def test_a_change_that_fails_leaves_nothing_behind(sockets):
    apply(sockets, listener("default"))
    wanted = free_port()
    with socket.create_server(("127.0.0.1", 0)) as owner, pytest.raises(BindError):
        sockets.prepare([listener("a", port=wanted), listener("b", port=owner.getsockname()[1])])
    with socket.create_server(("127.0.0.1", wanted)):
        pass
    assert list(sockets.listeners) == ["default"]


def test_inherited_sockets_are_fitted_to_the_slots():
    bound = open_sockets("default", LOCAL, 1)
    sockets = Sockets(LOCAL, 2, [bound])
    change = apply(sockets, listener("default"))
    assert change.opened == []
    assert len(sockets.listeners["default"].sockets) == 2
    assert len({sock.getsockname() for sock in sockets.listeners["default"].sockets}) == 1
    sockets.close()
