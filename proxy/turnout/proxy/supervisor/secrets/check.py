"""Whether a secret can be used, before anything is told of it: what a worker refuses would be no certificate at all."""

import ssl
from datetime import UTC, datetime

from turnout.proxy.net.tls.contexts import TlsContext, load_cas, load_certificate
from turnout.proxy.net.tls.x509 import MalformedCertificateError, read_certificate, split_pem
from turnout.rules.source import Secret


class SecretError(Exception):
    """Why a secret can't be used, in words for the operator; none of them is of the secret."""


def check_secret(secret: Secret, now: float) -> tuple[float, ...]:
    """When its certificate ends, and when the first of its CAs does, in seconds since the epoch, as far as it has them.

    `now` is the wall's clock. Raises SecretError.
    """
    ends = []
    try:
        if secret.certificate_chain_pem:
            ends.append(_check_certificate(secret, now))
        if secret.ca_pem:
            ends.append(_check_cas(secret))
    except MalformedCertificateError as error:
        raise SecretError(str(error)) from None
    if not ends:
        raise SecretError("there is neither a certificate nor a CA in it")
    return tuple(ends)


def _check_certificate(secret: Secret, now: float) -> float:
    certificates = split_pem(secret.certificate_chain_pem)
    if not certificates:
        raise SecretError("there is no certificate in it")
    facts = read_certificate(certificates[0])
    if now >= facts.not_after:
        raise SecretError(f"the certificate has expired, on {_date(facts.not_after)}")
    if now < facts.not_before:
        raise SecretError(f"the certificate is not valid before {_date(facts.not_before)}")
    try:
        load_certificate(TlsContext(ssl.PROTOCOL_TLS_SERVER), secret)
    except ssl.SSLError as error:
        raise SecretError(_describe(error)) from None
    except ValueError as error:
        raise SecretError(str(error)) from None
    return facts.not_after


def _check_cas(secret: Secret) -> float:
    cas = split_pem(secret.ca_pem)
    if not cas:
        raise SecretError("there is no CA in it")
    try:
        load_cas(TlsContext(ssl.PROTOCOL_TLS_CLIENT), (secret,))
    except ssl.SSLError as error:
        raise SecretError(f"the CA can't be read: {_describe(error)}") from None
    return min(read_certificate(ca).not_after for ca in cas)


def _describe(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    if not error.reason or error.reason in ("NO_START_LINE", "PEM_LIB"):
        return "the certificate or the key is not PEM"
    return error.reason.replace("_", " ").lower()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
