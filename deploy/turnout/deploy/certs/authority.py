"""A development CA in a folder: `ca.pem` and `ca-key.pem`, and what it issues beside them. Keys are P-256, in PKCS#8.

The only importer of `cryptography` (extra `certs`).
"""

import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from turnout.rules.checks.syntax import hostname_fault
from turnout.rules.identities import identity_fault

BACKDATED = timedelta(minutes=5)
"""Clocks of machines differ."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Key = ec.EllipticCurvePrivateKey


class CertsError(Exception):
    """Why a certificate is not made; the text is one line for the user."""


class Names(NamedTuple):
    """What a certificate is for: DNS names, IP addresses, and a SPIFFE id."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    spiffe: tuple[str, ...] = ()


def create_authority(folder: Path, name: str, days: float, *, force: bool = False) -> list[Path]:
    """Make a CA; the paths of its files. Raises CertsError if there is one and not `force`, and OSError."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = _builder(subject, subject, key, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _write_pair(folder, "ca", [builder.sign(key, hashes.SHA256())], key, force=force)


class Authority:
    """The CA of a folder. Raises CertsError if there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca-key.pem").read_bytes(), None)
        except FileNotFoundError as error:
            raise CertsError(f"{error.filename} is not there; turnout certs init makes it") from None
        except (ValueError, TypeError) as error:
            raise CertsError(f"the CA in {folder} can't be read: {error}") from None
        if not isinstance(key, Key):
            raise CertsError(f"{folder}/ca-key.pem is no key of an elliptic curve, so none of ours")
        self._key = key

    def issue(self, name: str, names: Names, days: float, *, force: bool = False) -> list[Path]:
        """Make a certificate for servers and clients; the paths of its files. Raises CertsError and OSError."""
        if not _FILE_NAME.fullmatch(name) or name == "ca":
            raise CertsError(f"{name!r} is no name for a file of a certificate")
        alternatives = _alternatives(names)
        ends = datetime.now(UTC) + timedelta(days=days)
        if ends > self._certificate.not_valid_after_utc:
            left = f"{self._certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            raise CertsError(f"the CA is valid until {left} only; ask for fewer --days, or make a new one")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(name), self._certificate.subject, key, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        return _write_pair(self._folder, name, [builder.sign(self._key, hashes.SHA256())], key, force=force)


def _alternatives(names: Names) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for dns in names.dns:
        if fault := hostname_fault(dns):
            raise CertsError(fault)
        found.append(x509.DNSName(dns))
    for ip in names.ip:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(ip)))
        except ValueError as error:
            raise CertsError(str(error)) from None
    if len(names.spiffe) > 1:
        raise CertsError("a certificate has one SPIFFE id at most (X509-SVID §2)")
    for uri in names.spiffe:
        if not uri.startswith("spiffe://") or uri.endswith("*") or identity_fault(uri) is not None:
            raise CertsError(f"{uri!r} is no SPIFFE id like spiffe://cluster.local/ns/models/sa/iris")
        found.append(x509.UniformResourceIdentifier(uri))
    if not found:
        raise CertsError("a certificate needs a name: --dns, --ip or --spiffe")
    return found


def _subject(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise CertsError(f"{name!r} can't be a common name: {error}") from None


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(folder: Path, name: str, chain: list[x509.Certificate], key: Key, *, force: bool) -> list[Path]:
    """Each file as a whole: a proxy that watches them sees the old or the new one, never a part."""
    paths = [folder / f"{name}.pem", folder / f"{name}-key.pem"]
    there = [path for path in paths if path.exists()]
    if there and not force:
        raise CertsError(f"{there[0]} is there already; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(paths[0], b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain), 0o644)
    _write(paths[1], key_pem, 0o600)
    return paths


def _write(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(fd, "wb") as file:
        file.write(content)
    fresh.replace(path)
