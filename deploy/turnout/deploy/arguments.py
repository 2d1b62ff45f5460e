"""Arguments that commands share, and types that read one word or say in one line what is wrong with it."""

import argparse
import ipaddress

from turnout.proxy.supervisor.options import Address
from turnout.proxy.worker.overload import MIN_SHARE_BYTES
from turnout.rules.durations import parse_duration_s
from turnout.rules.quantities import parse_bytes

MAX_WORKERS = 64
"""More processes than this on one port is a slip of the finger."""
MAX_DAYS = 3_650
MAX_CONNECTIONS = 10_000_000
MIN_MEMORY_BYTES = 2 * MIN_SHARE_BYTES
"""A supervisor and one worker."""


def host_port(text: str) -> Address:
    """Read `HOST:PORT` or `[IPv6]:PORT`. Port 0 asks the system for a free one."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        _check_ipv6(text, host)
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"{text!r}: write an IPv6 address in brackets, as [::1]:8080")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} names no host; 0.0.0.0 is every IPv4 address")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r}: {port!r} is not a port (0 to 65535)")
    return Address(host, int(port))


def cidr(text: str) -> str:
    """Read an IP network like `10.0.0.0/8`, or one address; the normal form of it."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP network: {error}") from error


def duration_s(text: str) -> float:
    """Read a Gateway API duration like `30s` or `1m30s`; the seconds."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def timeout_s(text: str) -> float:
    """As `duration_s`, above 0: a limit that is over at once lets nothing through."""
    duration = duration_s(text)
    if not duration:
        raise argparse.ArgumentTypeError(f"{text!r}: this limit must be above 0")
    return duration


def duration_text(seconds: float) -> str:
    """The word that `duration_s` reads as that many seconds."""
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{ms}ms"


def workers(text: str) -> int:
    """Read the number of workers: 1 to 64."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers (1 to {MAX_WORKERS})")
    return int(text)


def connections(text: str) -> int:
    """Read a number of connections, at least 1."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_CONNECTIONS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of connections (1 to {MAX_CONNECTIONS})")
    return int(text)


def days(text: str) -> int:
    """Read a number of days: 1 to 3650."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DAYS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days (1 to {MAX_DAYS})")
    return int(text)


def memory(text: str) -> int:
    """Read a size like `512Mi` or `2Gi`; the bytes. Less than MIN_MEMORY_BYTES nothing runs in."""
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if size < MIN_MEMORY_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r}: a proxy needs at least {MIN_MEMORY_BYTES >> 20}Mi")
    return size


def key_value(text: str) -> tuple[str, str]:
    """Read `KEY=VALUE`; the value may be empty."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def add_output(parser: argparse.ArgumentParser) -> None:
    """`-o json`, as on every command that prints."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")


def _check_ipv6(text: str, host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {host!r} is not an IPv6 address") from error
