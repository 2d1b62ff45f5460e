"""Words of the command line: what is read, and what is refused in one line."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.deploy.arguments import cidr, duration_s, duration_text, host_port, timeout_s, workers


@pytest.mark.parametrize(
    ("word", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("[::1]:8080", "::1", 8080),
        ("[::]:65535", "::", 65535),
        ("localhost:80", "localhost", 80),
    ],
)
def test_an_address_is_read_and_written_the_same(word: str, host: str, port: int) -> None:
    address = host_port(word)
    assert (address.host, address.port) == (host, port)
    assert str(address) == word


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("8080", "is not HOST:PORT"),
        ("", "is not HOST:PORT"),
        (":8080", "names no host"),
        ("::1:8080", "write an IPv6 address in brackets"),
        ("[::g]:8080", "is not an IPv6 address"),
        ("[127.0.0.1]:8080", "is not an IPv6 address"),
        ("[]:8080", "is not an IPv6 address"),
        ("localhost:", "'' is not a port"),
        ("localhost:http", "'http' is not a port"),
        ("localhost:65536", "'65536' is not a port"),
        ("localhost:-1", "'-1' is not a port"),
        ("localhost:٨", "is not a port"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(word: str, complaint: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as error:
        host_port(word)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("word", "network"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.7", "192.0.2.7/32"), ("::1", "::1/128"), ("fd00::/8", "fd00::/8")],
)
def test_a_network_or_one_address_may_be_trusted(word: str, network: str) -> None:
    assert cidr(word) == network


@pytest.mark.parametrize("word", ["10.0.0.1/8", "example.com", "10.0.0.0/33", ""])
def test_what_is_no_network_is_refused(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not an IP network"):
        cidr(word)


@pytest.mark.parametrize(("word", "seconds"), [("30s", 30), ("1m30s", 90), ("250ms", 0.25), ("0s", 0)])
def test_a_duration_is_read_in_gateway_api_grammar(word: str, seconds: float) -> None:
    assert duration_s(word) == seconds


@pytest.mark.parametrize("word", ["30", "1.5s", "s", "", "-1s", "1d"])
def test_what_is_no_duration_is_refused(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration_s(word)


def test_a_timeout_of_nothing_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be above 0"):
        timeout_s("0s")


@given(st.integers(0, 99_999 * 3_600_000))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    assert duration_s(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


def test_the_number_of_workers_has_sane_bounds() -> None:
    assert workers("4") == 4
    for word in ("0", "-1", "65", "two", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of workers"):
            workers(word)
