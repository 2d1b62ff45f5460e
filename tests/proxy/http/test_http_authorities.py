"""Authorities (RFC 9110 §7.2, RFC 3986 §3.2): a host is found in them or they are refused; few are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.target import MAX_LEARNED, Authorities, parse_authority


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"a", "a"),
        (b"Example.COM", "example.com"),
        (b"example.com:8080", "example.com"),
        (b"example.com:", "example.com"),
        (b"example.com.", "example.com"),
        (b"example.com.:80", "example.com"),
        (b"example.com..", "example.com."),
        (b"127.0.0.1:80", "127.0.0.1"),
        (b"[::1]", "[::1]"),
        (b"[::1]:8080", "[::1]"),
        (b"[2001:DB8::A]", "[2001:db8::a]"),
        (b"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]"),
        (b"a_b", "a_b"),
        (b"a-b~c!$&'()*+;=", "a-b~c!$&'()*+;="),
        (b"a%41", "a%41"),
    ],
)
def test_the_host_of_an_authority_is_in_lower_case_and_without_port(authority, host):
    assert parse_authority(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        b"", b":80", b" ", b"a,b", b"a b", b" a", b"a ", b"a/b", b"/", b"a?b", b"a#b", b"u@a", b"u:p@a", b"a\\b",
        b"a\x00", b"a\n", b"a:b", b"a:-1", b"a:80:80", b"a:123456", b"a:8 0", b"a\xe9", b'a"b', b"<a>", b"a|b", b"{a}",
        b"::1", b"::1:80", b"[::1", b"::1]", b"[]", b"[a]", b"[::g]", b"[::1]x", b"[::1]]", b"[::1]:x",
        b"[fe80::1%eth0]",        b"a%", b"a%4", b"a%zz", b"[::::]", b"[1.2.3.4]", b"[1:2:3]", b"[::1.2.3.4.5]",
    ],
)  # fmt: skip
def test_authorities_that_are_none_are_refused(authority):
    """A comma would be allowed in a name, but what has one is most likely two Hosts that somebody joined."""
    with pytest.raises(MalformedError):
        parse_authority(authority)
    with pytest.raises(MalformedError):
        Authorities().look_up(authority)


@given(authority=st.binary(max_size=30))
def test_any_bytes_are_an_authority_or_malformed(authority):
    try:
        host = parse_authority(authority)
    except MalformedError:
        return
    assert host == host.lower()
    assert not set(host) & set(" /?#@\\\r\n\t\x00")


def test_hostile_authorities_fill_no_memory_and_are_still_parsed():
    authorities = Authorities()
    for number in range(3 * MAX_LEARNED):
        assert authorities.look_up(b"H%d.example:80" % number) == f"h{number}.example"
    assert len(authorities.hosts) <= MAX_LEARNED
    assert authorities.look_up(b"late.example") == "late.example"


def test_a_long_authority_is_not_remembered():
    authorities = Authorities()
    for number in range(100):
        assert authorities.look_up(b"a" * 60_000 + b"%d" % number).startswith("aaa")
    assert sum(map(len, authorities.hosts)) < 1_000_000


def test_an_authority_that_was_refused_is_refused_again():
    authorities = Authorities()
    for _ in range(2):
        with pytest.raises(MalformedError):
            authorities.look_up(b"a b")
    assert not authorities.hosts
