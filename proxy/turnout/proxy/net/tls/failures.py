"""What went wrong in a handshake: OpenSSL's words to a reason that can be counted and a text that can be read."""

import ssl

from turnout.proxy.telemetry.tls import TlsFailure

_VERIFY = {
    9: TlsFailure.EXPIRED,  # X509_V_ERR_CERT_NOT_YET_VALID
    10: TlsFailure.EXPIRED,  # X509_V_ERR_CERT_HAS_EXPIRED
    18: TlsFailure.UNKNOWN_CA,  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: TlsFailure.UNKNOWN_CA,  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    20: TlsFailure.UNKNOWN_CA,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: TlsFailure.UNKNOWN_CA,  # X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    62: TlsFailure.WRONG_NAME,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: TlsFailure.WRONG_NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (TlsFailure.NO_CERTIFICATE, "the client shows no certificate"),
    "HTTP_REQUEST": (TlsFailure.NOT_TLS, "the client speaks plain HTTP to a TLS port"),
    "HTTPS_PROXY_REQUEST": (TlsFailure.NOT_TLS, "the client takes a TLS port for an HTTP proxy"),
    "WRONG_VERSION_NUMBER": (TlsFailure.NOT_TLS, "the other side does not speak TLS"),
    "PACKET_LENGTH_TOO_LONG": (TlsFailure.NOT_TLS, "the other side does not speak TLS"),
    "RECORD_LAYER_FAILURE": (TlsFailure.NOT_TLS, "the other side does not speak TLS"),
    "UNSUPPORTED_PROTOCOL": (TlsFailure.UNSUPPORTED, "the other side speaks no version of TLS from 1.2 on"),
    "VERSION_TOO_LOW": (TlsFailure.UNSUPPORTED, "the other side speaks no version of TLS from 1.2 on"),
    "NO_SHARED_CIPHER": (TlsFailure.UNSUPPORTED, "no cipher in common"),
    "CALLBACK_FAILED": (TlsFailure.WRONG_NAME, "the client asks for a server name that no listener here has"),
}


class WrongNameError(ssl.CertificateError):
    """An endpoint's certificate has none of the names that it has to have."""

    def __str__(self) -> str:
        return str(self.args[-1])


def describe_failure(error: BaseException | None) -> tuple[TlsFailure, str]:
    """The reason and a text for a failed handshake; None is a connection that just ended."""
    if isinstance(error, WrongNameError):
        return TlsFailure.WRONG_NAME, str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message or "it can't be verified"
        return _VERIFY.get(error.verify_code, TlsFailure.BAD_CERTIFICATE), f"certificate refused: {text.lower()}"
    if isinstance(error, ssl.SSLError):
        return _describe_ssl(error)
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return TlsFailure.TIMEOUT, "the handshake takes too long"
    if error is None or isinstance(error, ConnectionError):
        return TlsFailure.CLOSED, "closed in the middle of the handshake"
    return TlsFailure.OTHER, str(error) or type(error).__name__


def is_rejection(error: BaseException | None) -> bool:
    """Whether the peer says by an alert that it does not want our certificate. In TLS 1.3 a client learns that only
    after the handshake, from what should be the answer."""
    return isinstance(error, ssl.SSLError) and _alert(error) is not None


def _describe_ssl(error: ssl.SSLError) -> tuple[TlsFailure, str]:
    alert = _alert(error)
    if alert is not None:
        return TlsFailure.REJECTED, f"the other side refuses: {alert}"
    known = _REASONS.get(error.reason or "")
    if known is not None:
        return known
    text = (error.reason or error.strerror or str(error)).replace("_", " ").lower()
    return TlsFailure.OTHER, text


def _alert(error: ssl.SSLError) -> str | None:
    """`TLSV1_ALERT_UNKNOWN_CA` as `unknown ca`."""
    reason = error.reason or ""
    _, found, alert = reason.partition("_ALERT_")
    return alert.replace("_", " ").lower() if found else None
