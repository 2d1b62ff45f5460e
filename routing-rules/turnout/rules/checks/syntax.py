"""What names and values must look like: each function returns why a text is refused, or None.

Sources: the CRDs' patterns (gateway-api, apis/v1/shared_types.go), RFC 1123 for names, RFC 9110 §5.1 and §5.5
for headers.
"""

import re
import socket

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_FORBIDDEN_IN_PATH = re.compile(r"//|/(?:\.|%2[eE]){1,2}(?=/|$)|%2[fF]")
_TARGET = re.compile(r"/[!-\"$-~]*")
_HOST_FIELD = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9._]+)(?::[0-9]{1,5})?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

UNEDITABLE_HEADERS = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""The proxy frames and connects by these itself; an edit could only lie."""


def dns_name_fault(text: str) -> str | None:
    """Of an object's name, an RFC 1123 subdomain."""
    if len(text) > 253 or not _DNS_NAME.fullmatch(text):
        return f"{text!r} is not a DNS name in lower case"
    return None


def dns_label_fault(text: str) -> str | None:
    """Of a namespace, an RFC 1123 label."""
    return None if _DNS_LABEL.fullmatch(text) else f"{text!r} is not a DNS label in lower case, of at most 63"


def hostname_fault(text: str, *, wildcard: bool = True) -> str | None:
    """Of a hostname; `wildcard` allows `*.` before it."""
    name = text[2:] if wildcard and text.startswith("*.") else text
    if "*" in name:
        return f"{text!r}: a wildcard is not allowed here" if not wildcard else f"{text!r}: * only as first label"
    if is_ip(name):
        return f"{text!r} is an IP address; a hostname is a DNS name"
    if ":" in name:
        return f"{text!r}: a hostname has no port"
    if name != name.lower():
        return f"{text!r}: a hostname is written in lower case"
    return None if dns_name_fault(name) is None else f"{text!r} is not a hostname"


def address_fault(text: str) -> str | None:
    """Of an endpoint: an IPv4 or IPv6 address, or a DNS name."""
    if is_ip(text):
        return None
    if text.startswith("["):
        return f"{text!r}: an IPv6 address is written without brackets"
    name = text.removesuffix(".").lower()
    if dns_name_fault(name.replace("_", "-")) or name.rpartition(".")[2].isdigit():
        return f"{text!r} is neither an IP address nor a DNS name"
    return None


def is_ip(text: str) -> bool:
    """True for an IPv4 address in four decimal parts or an IPv6 address without zone."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def header_name_fault(name: str) -> str | None:
    """Of a header's name, a token."""
    return None if _TOKEN.fullmatch(name) else f"{name!r} is not a header name"


def header_value_fault(value: str) -> str | None:
    """Of a header's value: what would break a head apart, or be trimmed on the way."""
    if _CONTROL.search(value):
        return "a header value must not have control characters"
    return "a header value must not begin or end with space" if value != value.strip(" \t") else None


def path_fault(value: str) -> str | None:
    """Of a path in an Exact or PathPrefix match. What the proxy normalises away could never match."""
    if not value.startswith("/"):
        return f"{value!r}: a path starts with /"
    found = _FORBIDDEN_IN_PATH.search(value)
    if found:
        return f"{value!r}: a path must not have {found.group()!r}"
    return None if _PATH.fullmatch(value) else f"{value!r}: a path has no {_first_bad(value)!r}; percent-encode it"


def replacement_fault(value: str, *, prefix: bool) -> str | None:
    """Of a path that replaces; a prefix may be replaced by nothing."""
    if prefix and not value:
        return None
    return path_fault(value)


def target_fault(value: str) -> str | None:
    """Of a path with or without a query, sent as it is (RFC 9112 §3.2.1)."""
    if _TARGET.fullmatch(value):
        return None
    return f"{value!r} is not a path: it starts with /, and has neither spaces, # nor letters beyond ASCII"


def host_field_fault(value: str) -> str | None:
    """Of a Host field: a name or an address, with or without a port."""
    return None if _HOST_FIELD.fullmatch(value) else f"{value!r} is not a host, or a host and a port"


def _first_bad(value: str) -> str:
    allowed = _PATH.match(value)
    return value[allowed.end()] if allowed else value[0]


_is_grpc_name = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*").fullmatch


def grpc_name_fault(name: str) -> str | None:
    """What keeps this from being the name of a gRPC service, with its package, or method; None if nothing does."""
    return None if _is_grpc_name(name) else f"{name!r} is no name of a gRPC service or method"
