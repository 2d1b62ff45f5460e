"""The environment variables that the exporter reads for itself, checked before the start: it takes its default for what
it does not understand, or finds out with the first spans, when nobody looks.

Those of the exporter are there twice: `OTEL_EXPORTER_OTLP_TRACES_*` is for spans alone and comes first.
"""

import re
import ssl
from collections.abc import Mapping
from math import inf
from urllib.parse import urlsplit

COMPRESSIONS = ("none", "gzip", "deflate")
PROTOCOLS = ("http/json", "http/protobuf")
"""Collectors take both at the same place; the first is what is spoken."""

_is_header = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=[ !#-+\--:<-\[\]-~]*").fullmatch
"""W3C Baggage without its properties, as OTLP has it, and blanks in values: quotes, `;` and `\\` are to be encoded."""
_is_attribute = re.compile(r"\s*[^=\s][^=]*=.*", re.DOTALL).fullmatch


class TracingError(Exception):
    """A variable that does not mean anything here, or a package that is not there; str() says which."""


def check_variables(environ: Mapping[str, str]) -> None:
    """Raises TracingError for one that means nothing."""
    _check_protocol(environ)
    _check_timeout(environ)
    _check_compression(environ)
    _check_headers(environ)
    _check_certificates(environ)
    for item in _list_items(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")):
        if not _is_attribute(item):
            raise TracingError(f"OTEL_RESOURCE_ATTRIBUTES: {item!r} is not written as name=value")


def read_word(environ: Mapping[str, str], name: str) -> str:
    """What a variable says that has a few values only, in lower case; empty if it is not set."""
    return environ.get(name, "").strip().lower()


def check_endpoint(name: str, endpoint: str) -> None:
    """Raises TracingError if what `name` says is no URL of a collector."""
    try:
        parts = urlsplit(endpoint)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of brackets, or of the port
        is_good = False
    if not is_good:
        raise TracingError(f"{name}: {endpoint!r} is no URL like http://collector:4318")


def _check_protocol(environ: Mapping[str, str]) -> None:
    name, protocol = _find(environ, "PROTOCOL")
    if protocol and protocol.strip().lower() not in PROTOCOLS:
        raise TracingError(
            f"{name} is {protocol!r}, which is none of {', '.join(PROTOCOLS)}: spans are exported as http/json, to the "
            "port for HTTP"
        )


def _check_timeout(environ: Mapping[str, str]) -> None:
    name, text = _find(environ, "TIMEOUT")
    try:
        is_good = not text or 0.0 < float(text) < inf
    except ValueError:
        is_good = False
    if not is_good:
        raise TracingError(f"{name} is {text!r}, which is no number of seconds above 0")


def _check_compression(environ: Mapping[str, str]) -> None:
    name, text = _find(environ, "COMPRESSION")
    if text and text.strip().lower() not in COMPRESSIONS:
        raise TracingError(f"{name} is {text!r}, which is none of {', '.join(COMPRESSIONS)}")


def _check_headers(environ: Mapping[str, str]) -> None:
    """What is in them may be a secret, so the place is told and not the text."""
    name, text = _find(environ, "HEADERS")
    for place, item in enumerate(_list_items(text), 1):
        if not _is_header(item):
            raise TracingError(f"{name}: header {place} of the list is not written as name=value")


def _check_certificates(environ: Mapping[str, str]) -> None:
    (ca_name, ca), (cert_name, cert) = _find(environ, "CERTIFICATE"), _find(environ, "CLIENT_CERTIFICATE")
    key_name, key = _find(environ, "CLIENT_KEY")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise TracingError(f"{ca_name}: {ca!r} has no certificates that can be read: {error}") from None
    if key and not cert:
        raise TracingError(f"{key_name} is the key of a certificate, which OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE names")
    if cert:
        try:
            # No passphrase: the exporter has none either, and would ask the terminal for it.
            context.load_cert_chain(cert, key or None, password="")
        except OSError as error:
            told = f", with {key_name} {key!r}," if key else ""
            raise TracingError(f"{cert_name}: {cert!r}{told} is no certificate with its key: {error}") from None


def _find(environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """The variable that counts, and what it says; empty if it is not set."""
    name = f"OTEL_EXPORTER_OTLP_TRACES_{what}"
    if environ.get(name):
        return name, environ[name]
    name = f"OTEL_EXPORTER_OTLP_{what}"
    return name, environ.get(name, "")


def _list_items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
