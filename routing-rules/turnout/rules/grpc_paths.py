"""A gRPC method match as a condition on the path, which is `/service/method` in a call (gRPC over HTTP/2, Path).

What a match leaves open is one element of the path. Expressions are joined into one for the whole path; since they
must match the whole service or method, an anchor at either end says nothing and is taken away, and one inside could
never hold.
"""

from turnout.rules.documents.grpcroute import GRPCMethodMatch
from turnout.rules.snapshot import PathMatch

ANY_CALL = PathMatch("path_prefix", "/")
_ANY = "[^/]+"


def compile_method(match: GRPCMethodMatch | None) -> PathMatch:
    """The condition; every path for no match. Names and expressions are those of a match that was checked."""
    if match is None:
        return ANY_CALL
    service, method = match.service or "", match.method or ""
    if match.type == "RegularExpression":
        return PathMatch("regex", f"/{_group(service)}/{_group(method)}")
    if service and method:
        return PathMatch("exact", f"/{service}/{method}")
    # Of the letters that a name may have, the dot alone means something to RE2.
    return PathMatch("regex", f"/{service.replace('.', '[.]') or _ANY}/{method or _ANY}")


def strip_anchors(expression: str) -> str:
    """The same expression for whole matches, without `^` before it and `$` behind it."""
    expression = expression.removeprefix("^")
    if not expression.endswith("$"):
        return expression
    body = expression[:-1]
    escapes = len(body) - len(body.rstrip("\\"))
    return expression if escapes % 2 else body


def find_anchor(expression: str) -> str | None:
    """The first `^` or `$` that is neither escaped nor in a character class; None if there is none."""
    at, in_class = 0, False
    while at < len(expression):
        letter = expression[at]
        if letter == "\\":
            at += 1
        elif in_class:
            in_class = letter != "]"
        elif letter == "[":
            in_class = True
            at += len(expression[at + 1 :]) - len(expression[at + 1 :].removeprefix("^").removeprefix("]"))
        elif letter in "^$":
            return letter
        at += 1
    return None


def _group(expression: str) -> str:
    return f"(?:{strip_anchors(expression)})" if expression else _ANY
