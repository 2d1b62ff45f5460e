"""Where a request goes on to: URL rewrites and redirects.

The semantics are those of Gateway API's `HTTPURLRewriteFilter` and `HTTPRequestRedirectFilter`. The target `*` of
OPTIONS names the server and not a resource: it has no path to be rewritten.
"""

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.scheme import find_scheme
from turnout.rules.snapshot import PathRewrite, Redirect, Rewrite

DEFAULT_PORTS = {"http": 80, "https": 443}
ASTERISK = b"*"
MAX_PORT_DIGITS = 5


def apply_rewrite(rewrite: Rewrite, head: RequestHead, prefix: str) -> None:
    """Change the authority and the path of a request that matched the path prefix `prefix`."""
    if rewrite.hostname is not None:
        head.authority = rewrite.hostname.encode()
    if rewrite.path is not None and head.path != ASTERISK:
        head.path = rewrite_path(rewrite.path, head.path, prefix)


def rewrite_path(rewrite: PathRewrite, path: bytes, prefix: str) -> bytes:
    """The new path: all of it, or what `prefix` matched replaced (see `snapshot.PathRewrite`)."""
    value = rewrite.value.encode()
    if rewrite.kind == "full":
        return value
    if rewrite.kind == "raw_prefix":
        found = value + path[len(prefix.encode()) :]
        return found if found.startswith(b"/") else b"/" + found
    rest = path[len(prefix.rstrip("/")) :]
    return (value.rstrip(b"/") + rest) or b"/"


def make_location(redirect: Redirect, head: RequestHead, prefix: str, port: int, own: str = "http") -> bytes:
    """The Location of a redirect; `port` is the listener's, and `own` the scheme that it speaks.

    What port it has is told at `snapshot.Redirect`. A request without a host (HTTP/1.0) gets a relative reference.
    """
    scheme = redirect.scheme or find_scheme(head)
    path = _redirected_path(redirect, head, prefix)
    query = b"" if head.query is None or not redirect.keep_query else b"?" + head.query
    host = redirect.hostname or head.host
    if not host:
        # One slash only: a client would take the word behind two for a host.
        return b"/" + path.lstrip(b"/") + query
    named = _find_port(redirect, head, scheme, port, own)
    authority = host if named is None else f"{host}:{named}"
    return f"{scheme}://{authority}".encode() + path + query


def _redirected_path(redirect: Redirect, head: RequestHead, prefix: str) -> bytes:
    if head.path == ASTERISK:
        return b""
    return head.path if redirect.path is None else rewrite_path(redirect.path, head.path, prefix)


def _find_port(redirect: Redirect, head: RequestHead, scheme: str, port: int, own: str) -> int | None:
    """The Location's port, None for none; `port` is the listener's, which speaks `own`."""
    if redirect.port == 0:
        return None if redirect.hostname is not None else _keep_port(head, scheme)
    if redirect.port is not None:
        port = redirect.port
    elif scheme != own or redirect.scheme is not None:
        port = DEFAULT_PORTS.get(scheme, port)
    return None if port == DEFAULT_PORTS.get(scheme) else port


def _keep_port(head: RequestHead, scheme: str) -> int | None:
    """The port of the request's authority, but for the well-known one of another scheme than the answer's."""
    colon, digits = head.authority.rpartition(b":")[1:]
    if not colon or not digits.isdigit() or len(digits) > MAX_PORT_DIGITS:
        return None
    came = find_scheme(head)
    return None if scheme != came and int(digits) == DEFAULT_PORTS[came] else int(digits)
