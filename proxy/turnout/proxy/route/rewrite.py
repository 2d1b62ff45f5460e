"""Where a request goes on to: URL rewrites and redirects.

The semantics are those of Gateway API's `HTTPURLRewriteFilter` and `HTTPRequestRedirectFilter`. The target `*` of
OPTIONS names the server and not a resource: it has no path to be rewritten.
"""

from turnout.proxy.http.head import RequestHead
from turnout.rules.snapshot import PathRewrite, Redirect, Rewrite

DEFAULT_PORTS = {"http": 80, "https": 443}
ASTERISK = b"*"


def apply_rewrite(rewrite: Rewrite, head: RequestHead, prefix: str) -> None:
    """Change the authority and the path of a request that matched the path prefix `prefix`."""
    if rewrite.hostname is not None:
        head.authority = rewrite.hostname.encode()
    if rewrite.path is not None and head.path != ASTERISK:
        head.path = rewrite_path(rewrite.path, head.path, prefix)


def rewrite_path(rewrite: PathRewrite, path: bytes, prefix: str) -> bytes:
    """The new path: all of it, or what `prefix` matched replaced; a slash joins the parts, once."""
    value = rewrite.value.encode()
    if rewrite.kind == "full":
        return value
    rest = path[len(prefix.rstrip("/")) :]
    return (value.rstrip(b"/") + rest) or b"/"


def make_location(redirect: Redirect, head: RequestHead, prefix: str, port: int) -> bytes:
    """The Location of a redirect; `port` is the listener's.

    Without a port of its own a redirect keeps the listener's, or takes the well-known one of a scheme that it
    names; the well-known port is left out. A request without a host (HTTP/1.0) gets a relative reference.
    """
    scheme = redirect.scheme or _find_scheme(head)
    path = _redirected_path(redirect, head, prefix)
    query = b"" if head.query is None else b"?" + head.query
    host = redirect.hostname or head.host
    if not host:
        # One slash only: a client would take the word behind two for a host.
        return b"/" + path.lstrip(b"/") + query
    if redirect.port is not None:
        port = redirect.port
    elif scheme != "http" or redirect.scheme is not None:
        port = DEFAULT_PORTS.get(scheme, port)
    authority = host if port == DEFAULT_PORTS.get(scheme) else f"{host}:{port}"
    return f"{scheme}://{authority}".encode() + path + query


def _redirected_path(redirect: Redirect, head: RequestHead, prefix: str) -> bytes:
    if head.path == ASTERISK:
        return b""
    return head.path if redirect.path is None else rewrite_path(redirect.path, head.path, prefix)


def _find_scheme(head: RequestHead) -> str:
    """The client's scheme: a listener speaks http, but who ended TLS before us may have said so; filters saw to it
    that only a trusted peer's word is still there."""
    return "https" if head.get(b"x-forwarded-proto") == b"https" else "http"
