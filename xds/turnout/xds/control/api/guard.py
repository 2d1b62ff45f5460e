"""Who may ask, and how it is said that something is wrong.

* With a token, each request under /api needs it. What is open (/ready, /live, /metrics, /openapi.json) tells nothing
  of the documents.
* What changes something and comes from a web page (it has an Origin) is refused; and on loopback the Host must be an
  address or `localhost`, so that a page whose name resolves to 127.0.0.1 (DNS rebinding) reads nothing here.
* Every error is `{"error": {…}}`; one that nobody expected is logged, and told as nothing but that.
"""

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from turnout.rules.diagnostics import Diagnostic
from turnout.xds.control.api.messages import ErrorAnswer, ErrorInfo, finding
from turnout.xds.control.api.operations import JSON
from turnout.xds.store.refusal import Code, Refusal
from turnout.xds.store.store import StoreError

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_STATUSES: dict[Code, int] = {"invalid": 422, "conflict": 409, "not-found": 404, "ambiguous": 400}
_WORDS = {401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}


class BadRequest(Exception):
    """The request itself is wrong; the text says how."""


def make_guard(token: str | None) -> Middleware:
    """The middleware."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check(request, token)
            return await handler(request)
        except Refusal as refusal:
            return _error(_STATUSES[refusal.code], refusal.code, refusal.message, refusal.findings)
        except BadRequest as error:
            return _error(400, "bad-request", str(error))
        except web.HTTPException as error:
            answer = _error(error.status, _WORDS.get(error.status, "bad-request"), error.text or error.reason)
            answer.headers.update({k: v for k, v in error.headers.items() if k in ("Allow", "WWW-Authenticate")})
            return answer
        except StoreError as error:
            logger.error("%s %s failed: %s", request.method, request.path, error)
            return _error(503, "store", str(error))
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return _error(500, "internal", "that failed; the log of the control plane says why")

    return guard


def is_loopback(host: str) -> bool:
    """Whether who binds to this host is reached from this machine only. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(request: web.Request, token: str | None) -> None:
    if request.method not in ("GET", "HEAD") and "Origin" in request.headers:
        raise web.HTTPForbidden(text="requests of web pages are refused")
    name: Any = request.get_extra_info("sockname")
    if name and is_loopback(str(name[0])) and not _is_literal(request.host):
        raise web.HTTPForbidden(text="the Host must be an address or localhost")
    if token is not None and request.path.startswith("/api/"):
        given = request.headers.get("Authorization", "")
        # What is not UTF-8 came as surrogates.
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), f"Bearer {token}".encode()):
            raise web.HTTPUnauthorized(text="a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})


def _is_literal(host: str) -> bool:
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _error(status: int, code: str, message: str, findings: tuple[Diagnostic, ...] = ()) -> web.Response:
    told = [finding(x) for x in findings]
    answer = ErrorAnswer(error=ErrorInfo(code=code, status=status, message=message.strip(), findings=told))
    return web.Response(status=status, body=msgspec.json.encode(answer), content_type=JSON)
