"""What is read of certificates, against those that `cryptography` makes."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.proxy.net.tls.x509 import MalformedCertificateError, read_certificate, split_pem

KEY = ec.generate_private_key(ec.SECP256R1())
LABEL = st.text("abcdefghij0-", min_size=1, max_size=8)


def make(begin: datetime, end: datetime, names: list[x509.GeneralName], more: bool = False) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c" * 60)])
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number(), begin, end)
    if more:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=more)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@settings(max_examples=60)
@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2120, 1, 1)),
    st.integers(1, 100_000),
    st.lists(LABEL.map(lambda x: f"{x}.Example")),
    st.lists(LABEL.map(lambda x: f"spiffe://td/{x}"), max_size=3),
    st.booleans(),
)
def test_times_and_names_are_those_of_the_certificate(begin, hours, dns, uris, more) -> None:
    begin = begin.replace(microsecond=0, tzinfo=UTC)
    end = begin + timedelta(hours=hours)
    names = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris), x509.RFC822Name("a@b.c")]
    facts = read_certificate(make(begin, end, names, more))
    assert (facts.not_before, facts.not_after) == (begin.timestamp(), end.timestamp())
    assert (facts.dns_names, facts.uris) == (tuple(name.lower() for name in dns), tuple(uris))


GOOD = make(datetime(2026, 1, 1), datetime(2050, 6, 1), [x509.DNSName("a.b")])


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=8))
def test_what_is_not_a_certificate_is_told_and_nothing_else_is_raised(at: int, junk: bytes) -> None:
    for data in (GOOD[:at], GOOD[:at] + junk, GOOD[:at] + junk + GOOD[at + len(junk) :]):
        try:
            read_certificate(data)
        except MalformedCertificateError:
            continue


def test_a_chain_is_split_in_its_order() -> None:
    pem = ssl.DER_cert_to_PEM_cert(GOOD)
    assert split_pem(f"a comment\n{pem}between\n{pem}".encode()) == [GOOD, GOOD]
    assert split_pem(b"") == []
    with pytest.raises(MalformedCertificateError, match="cut short"):
        split_pem(pem[:100].encode())
