"""Who a client is, by handshakes in memory."""

import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from turnout.proxy.net.tls.contexts import make_client_context, make_server_context
from turnout.proxy.net.tls.failures import TlsFailure, WrongNameError, describe_failure
from turnout.proxy.net.tls.identity import read_identity
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.rules.source import Secret
from turnout.rules.tls import SubjectAltName, UpstreamTls


def make_secret(*uris: str, dns: str = "") -> Secret:
    """Its own CA: whoever believes it believes this one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
    )
    names = [*map(x509.UniformResourceIdentifier, uris), *([x509.DNSName(dns)] if dns else [])]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret("s", pem, private, pem)


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "") -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake to its end; raises what either side does."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name or None)
    open_sides = [theirs, ours]
    while open_sides:
        for side in list(open_sides):
            try:
                side.do_handshake()
                open_sides.remove(side)
            except ssl.SSLWantReadError:
                continue
    return ours, theirs


def serve(client: Secret | None, own_uri: str = "") -> tuple[str, bytes]:
    """What a listener finds of a client that shows this."""
    server = make_secret(dns="a.test")
    context = make_server_context(server, [client] if client else [], True)
    context.uri = own_uri
    ours, _ = shake(context, make_client_context(client, server, "http1", verify=True, check_hostname=True), "a.test")
    return read_identity(ours)


def fingerprint(secret: Secret) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(secret.certificate_chain_pem.decode())).hexdigest()


def test_the_uri_is_the_identity_and_is_told_in_envoys_form() -> None:
    client = make_secret("spiffe://td/a")
    assert serve(client) == ("spiffe://td/a", f"Hash={fingerprint(client)};URI=spiffe://td/a".encode())
    identity, told = serve(client, "spiffe://td/own")
    assert told.startswith(b"By=spiffe://td/own;Hash=")
    assert identity == "spiffe://td/a"


def test_who_shows_nothing_is_nobody() -> None:
    assert serve(None) == ("", b"")


def test_a_certificate_with_several_uris_or_none_is_nobodys() -> None:
    assert serve(make_secret("spiffe://td/a", "spiffe://td/b"))[0] == ""
    client = make_secret()
    assert serve(client) == ("", f"Hash={fingerprint(client)}".encode())


@pytest.mark.parametrize(
    "evil", ["spiffe://td/a;URI=spiffe://td/b", "spiffe://td/a,By=x", 'spiffe://td/"', "a:\r\nx: y", "a: b"]
)
def test_nothing_in_a_uri_ends_a_value_or_a_field(evil: str) -> None:
    _, told = serve(make_secret(evil))
    hashed, uri = told.split(b";")
    assert hashed.startswith(b"Hash=")
    assert uri.startswith(b"URI=")
    assert not set(uri.removeprefix(b"URI=")) & set(b'\r\n ",;=\\')


def test_names_that_openssl_does_not_check_are_a_part_of_the_handshake() -> None:
    server = make_secret("spiffe://td/ns/x/sa/y", dns="a.test")

    def connect(*names: SubjectAltName) -> None:
        config = UpstreamTls(ca="s", subject_alt_names=names)
        shake(make_server_context(server, [], True), UpstreamContext(config, {"s": server}, "http1").context)

    connect(SubjectAltName("uri", "spiffe://td/ns/x/*"))
    connect(SubjectAltName("dns", "b.test"), SubjectAltName("dns", "a.test"))
    with pytest.raises(WrongNameError) as error:
        connect(SubjectAltName("uri", "spiffe://td/ns/z/*"), SubjectAltName("dns", "b.test"))
    failure, text = describe_failure(error.value)
    assert failure is TlsFailure.WRONG_NAME
    assert text == "certificate refused: it is that of a.test, spiffe://td/ns/x/sa/y"


def test_a_failed_handshake_keeps_the_alert_for_the_other_side() -> None:
    server = make_secret(dns="a.test")
    context = make_server_context(server, [server], True)
    with pytest.raises(ssl.SSLError) as error:
        shake(context, make_client_context(None, server, "http1", verify=True, check_hostname=True), "a.test")
    assert error.value.alert  # type: ignore[attr-defined]


def test_versions_below_1_2_and_old_ciphers_are_not_spoken() -> None:
    context = make_server_context(make_secret(dns="a.test"), [], True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all(name.startswith(("TLS_", "ECDHE-")) and not name.endswith("-SHA") for name in names)
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
