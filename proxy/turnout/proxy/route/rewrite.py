"""Where a request goes on to: URL rewrites and redirects.

The semantics are those of Gateway API's `HTTPURLRewriteFilter` and `HTTPRequestRedirectFilter`.
"""

from turnout.proxy.http.head import RequestHead
from turnout.rules.snapshot import PathRewrite, Redirect, Rewrite

DEFAULT_PORTS = {"http": 80, "https": 443}


def apply_rewrite(rewrite: Rewrite, head: RequestHead, prefix: str) -> None:
    """Change the authority and the path of a request that matched the path prefix `prefix`."""
    if rewrite.hostname is not None:
        head.authority = rewrite.hostname.encode()
    if rewrite.path is not None:
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
    names; the well-known port is left out.
    """
    scheme = redirect.scheme or "http"
    if redirect.port is not None:
        port = redirect.port
    elif redirect.scheme is not None:
        port = DEFAULT_PORTS.get(scheme, port)
    host = redirect.hostname or head.host
    authority = host if port == DEFAULT_PORTS.get(scheme) else f"{host}:{port}"
    path = head.path if redirect.path is None else rewrite_path(redirect.path, head.path, prefix)
    query = b"" if head.query is None else b"?" + head.query
    return f"{scheme}://{authority}".encode() + path + query
