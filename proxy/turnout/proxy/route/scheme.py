"""The scheme that the client used."""

from turnout.proxy.http.head import RequestHead


def find_scheme(head: RequestHead) -> str:
    """`http` or `https`: a listener speaks http, but who ended TLS before us may have said so; filters saw to it that
    only a trusted peer's word is still there."""
    return "https" if head.get(b"x-forwarded-proto") == b"https" else "http"
