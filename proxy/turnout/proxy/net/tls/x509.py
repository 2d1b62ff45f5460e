"""What we need to know of a certificate of our own: until when it is valid, and its names. A reader of DER (X.690) that
takes the way to these fields of RFC 5280 §4.1 and looks at nothing else; OpenSSL has judged the rest.

Python's `ssl` tells the fields of a peer's certificate only, and workers load no library for this.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

SEQUENCE, OCTETS, OID, BOOLEAN = 0x30, 0x04, 0x06, 0x01
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
VERSION, EXTENSIONS = 0xA0, 0xA3
DNS_NAME, URI_NAME = 0x82, 0x86
SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))
"""2.5.29.17 (RFC 5280 §4.2.1.6)."""
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class MalformedCertificateError(ValueError):
    """It is not DER, or not a certificate."""


class Facts(NamedTuple):
    """`not_before` and `not_after` are seconds since the epoch; DNS names are in lower case."""

    not_before: float
    not_after: float
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]


def split_pem(pem: bytes) -> list[bytes]:
    """The certificates of a PEM text as DER, in their order. Raises MalformedCertificateError."""
    found = []
    rest = pem.decode("ascii", "replace")
    while _BEGIN in rest:
        _, _, rest = rest.partition(_BEGIN)
        body, end, rest = rest.partition(_END)
        if not end:
            raise MalformedCertificateError("a certificate is cut short")
        try:
            found.append(ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{body}{_END}\n"))
        except ValueError as error:
            raise MalformedCertificateError(f"a certificate is not base64: {error}") from None
    return found


def read_certificate(der: bytes) -> Facts:
    """Read one certificate. Raises MalformedCertificateError."""
    try:
        return _read(der)
    except (IndexError, ValueError, StopIteration) as error:
        raise MalformedCertificateError(f"not a certificate: {error}") from None


def _read(der: bytes) -> Facts:
    certificate = _inside(_one(der), SEQUENCE)
    fields = list(_items(_inside(_one(certificate), SEQUENCE)))
    if fields[0][0] == VERSION:
        del fields[0]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, …
    begin, end = _items(_inside(fields[3], SEQUENCE))
    dns_names: list[str] = []
    uris: list[str] = []
    for tag, value in fields[6:]:
        if tag == EXTENSIONS:
            for name_tag, name in _alt_names(value):
                if name_tag == DNS_NAME:
                    dns_names.append(name.decode("ascii", "replace").lower())
                elif name_tag == URI_NAME:
                    uris.append(name.decode("ascii", "replace"))
    return Facts(_time(*begin), _time(*end), tuple(dns_names), tuple(uris))


def _alt_names(extensions: bytes) -> Iterator[tuple[int, bytes]]:
    for item in _items(_inside(_one(extensions), SEQUENCE)):
        parts = [part for part in _items(_inside(item, SEQUENCE)) if part[0] != BOOLEAN]
        if _inside(parts[0], OID) == SUBJECT_ALT_NAME:
            yield from _items(_inside(_one(_inside(parts[1], OCTETS)), SEQUENCE))


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, value) of each item in a row; every tag that we meet is one byte."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError("a length that DER does not have")
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("it is cut short")
        yield tag, data[at : at + length]
        at += length


def _one(data: bytes) -> tuple[int, bytes]:
    return next(_items(data))


def _inside(item: tuple[int, bytes], tag: int) -> bytes:
    if item[0] != tag:
        raise ValueError(f"a {item[0]:#04x} where a {tag:#04x} belongs")
    return item[1]


def _time(tag: int, value: bytes) -> float:
    """RFC 5280 §4.1.2.5: UTCTime up to 2049, GeneralizedTime from then on, both in Z."""
    text = value.decode("ascii")
    if tag == UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text
    elif tag != GENERALIZED_TIME:
        raise ValueError("a time is neither UTCTime nor GeneralizedTime")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
