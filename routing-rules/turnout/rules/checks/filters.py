"""Checks of filters, of a rule and of a backendRef."""

from turnout.rules.checks.common import check_count, check_unique
from turnout.rules.checks.mirroring import check_mirror
from turnout.rules.checks.syntax import (
    UNEDITABLE_HEADERS,
    dns_name_fault,
    header_name_fault,
    header_value_fault,
    hostname_fault,
    replacement_fault,
)
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.httproute import (
    ExtensionRef,
    Filter,
    HeaderModifier,
    PathModifier,
    RequestRedirect,
    URLRewrite,
)
from turnout.rules.documents.mirroring import RequestMirror

_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "ExtensionRef": "extensionRef",
}


def check_filters(say: Reporter, path: Path, filters: tuple[Filter, ...], *, one_prefix: bool, of_rule: bool) -> None:
    """All filters of one list, a rule's or a backendRef's. `one_prefix`: the rule has exactly one match, by PathPrefix,
    whose prefix can be replaced."""
    if not filters:
        return
    check_count(say, path, filters, 16)
    # Of mirrors there may be several (HTTPRouteRule.filters); each is told from the others by its place.
    types = (f"{f.type} {index}" if f.type == "RequestMirror" else f.type for index, f in enumerate(filters))
    check_unique(say, path, types, "filter", field="type")
    if {"RequestRedirect", "URLRewrite"} <= {f.type for f in filters}:
        say.error(path, "filter-conflict", "RequestRedirect and URLRewrite exclude each other")
    for index, item in enumerate(filters):
        _check_filter(say, (*path, index), item, one_prefix)
        if item.type == "ExtensionRef" and not of_rule:
            fault = "a RoutePolicy belongs to a rule, not to one of its backends"
            say.error((*path, index, "type"), "filter-conflict", fault)
        elif item.type == "RequestMirror" and not of_rule:
            fault = "a mirror belongs to a rule, not to one of its backends"
            say.error((*path, index, "type"), "filter-conflict", fault)


def _check_filter(say: Reporter, path: Path, item: Filter, one_prefix: bool) -> None:
    bodies: dict[str, HeaderModifier | RequestMirror | RequestRedirect | URLRewrite | ExtensionRef | None] = {
        "requestHeaderModifier": item.request_header_modifier,
        "responseHeaderModifier": item.response_header_modifier,
        "requestMirror": item.request_mirror,
        "requestRedirect": item.request_redirect,
        "urlRewrite": item.url_rewrite,
        "extensionRef": item.extension_ref,
    }
    needed = _FIELDS[item.type]
    for name, body in bodies.items():
        place = (*path, name)
        if name != needed:
            if body is not None:
                say.error(place, "filter-body", f"{name} does not belong to a filter of type {item.type}")
        elif body is None:
            say.error(path, "filter-body", f"a filter of type {item.type} needs {name}")
        elif isinstance(body, HeaderModifier):
            _check_modifier(say, place, body)
        elif isinstance(body, RequestMirror):
            check_mirror(say, place, body)
        elif isinstance(body, ExtensionRef):
            _check_extension(say, place, body)
        else:
            _check_url(say, place, body, one_prefix)


def _check_extension(say: Reporter, path: Path, body: ExtensionRef) -> None:
    if (body.group, body.kind) != ("turnout.dev", "RoutePolicy"):
        fault = f"{body.group}/{body.kind} can't be an extension; turnout.dev/RoutePolicy can"
        say.error(path, "unknown-kind", fault)
    if fault_text := dns_name_fault(body.name):
        say.error((*path, "name"), "invalid-name", fault_text)


def _check_url(say: Reporter, path: Path, body: RequestRedirect | URLRewrite, one_prefix: bool) -> None:
    if body.hostname is not None and (fault := hostname_fault(body.hostname, wildcard=False)):
        say.error((*path, "hostname"), "invalid-hostname", fault)
    if body.path is not None:
        _check_path_modifier(say, (*path, "path"), body.path, one_prefix)
    if isinstance(body, URLRewrite) and body.hostname is None and body.path is None:
        say.error(path, "filter-body", "urlRewrite needs hostname or path")


def _check_path_modifier(say: Reporter, path: Path, body: PathModifier, one_prefix: bool) -> None:
    full, prefix = body.replace_full_path, body.replace_prefix_match
    wanted, other = ("replaceFullPath", "replacePrefixMatch")
    value, excess = full, prefix
    if body.type == "ReplacePrefixMatch":
        wanted, other, value, excess = other, wanted, prefix, full
        if not one_prefix:
            fault = "ReplacePrefixMatch needs a rule with exactly one match, of type PathPrefix"
            say.error(path, "prefix-rewrite", fault)
    if value is None:
        say.error(path, "filter-body", f"type {body.type} needs {wanted}")
    elif fault_text := replacement_fault(value, prefix=body.type == "ReplacePrefixMatch"):
        say.error((*path, wanted), "invalid-path", fault_text)
    if excess is not None:
        say.error((*path, other), "filter-body", f"{other} does not belong to type {body.type}")


def _check_modifier(say: Reporter, path: Path, body: HeaderModifier) -> None:
    if not (body.set or body.add or body.remove):
        say.error(path, "filter-body", "one of set, add and remove is needed")
    for what, headers in (("set", body.set), ("add", body.add)):
        place = (*path, what)
        check_count(say, place, headers, 16)
        check_unique(say, place, (h.name.lower() for h in headers), "header")
        for index, header in enumerate(headers):
            _check_edited(say, (*place, index, "name"), header.name)
            if fault := header_value_fault(header.value):
                say.error((*place, index, "value"), "invalid-header", fault)
    place = (*path, "remove")
    check_count(say, place, body.remove, 16)
    check_unique(say, place, (name.lower() for name in body.remove), "header", field=None)
    for index, name in enumerate(body.remove):
        _check_edited(say, (*place, index), name)


def _check_edited(say: Reporter, path: Path, name: str) -> None:
    if fault := header_name_fault(name):
        say.error(path, "invalid-header", fault)
    elif name.lower() in UNEDITABLE_HEADERS:
        hint = "; URLRewrite sets the hostname" if name.lower() == "host" else ""
        say.error(path, "uneditable-header", f"{name} is the proxy's own and can't be edited{hint}")
