"""Rewrites, redirects and header edits, by the tables in Gateway API's text."""

from typing import TYPE_CHECKING

import pytest

from turnout.proxy.http.head import ResponseHead
from turnout.proxy.route.edits import compile_edits
from turnout.proxy.route.rewrite import apply_rewrite, make_location
from turnout.rules.snapshot import HeaderEdits, PathRewrite, Redirect, Rewrite

if TYPE_CHECKING:
    from conftest import MakeHead


@pytest.mark.parametrize(
    ("path", "prefix", "value", "expected"),
    [
        # HTTPPathModifier.replacePrefixMatch: request path, prefix match, replace prefix, modified path
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        # the prefix of everything
        ("/foo", "/", "/xyz", "/xyz/foo"),
        ("/", "/", "/xyz", "/xyz/"),
        ("/", "/", "", "/"),
        ("*", "/", "/xyz", "*"),
    ],
)
def test_a_prefix_is_replaced(make_head: "MakeHead", path: str, prefix: str, value: str, expected: str) -> None:
    head = make_head(f"{path}?q=1")
    apply_rewrite(Rewrite(path=PathRewrite("prefix", value)), head, prefix)
    assert (head.path.decode(), head.query) == (expected, b"q=1")


@pytest.mark.parametrize(
    ("path", "prefix", "value", "expected"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foobar", "/foo", "/xyz", "/xyzbar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyzbar"),
        ("/foo/bar", "/foo", "/", "//bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/FOO/b", "/foo", "/xyz", "/xyz/b"),
        # what would be no path is made one
        ("/foo/bar", "/foo/", "xyz/", "/xyz/bar"),
        ("/foo", "/foo", "", "/"),
        ("*", "/", "/xyz", "*"),
    ],
)
def test_a_raw_prefix_is_replaced_by_character(
    make_head: "MakeHead", path: str, prefix: str, value: str, expected: str
) -> None:
    head = make_head(f"{path}?q=1")
    apply_rewrite(Rewrite(path=PathRewrite("raw_prefix", value)), head, prefix)
    assert (head.path.decode(), head.query) == (expected, b"q=1")


def test_a_whole_path_is_replaced_and_the_query_stays(make_head: "MakeHead") -> None:
    head = make_head("/a/b?q=1")
    apply_rewrite(Rewrite(path=PathRewrite("full", "/c")), head, "/a")
    assert head.target == b"/c?q=1"


def test_a_hostname_is_rewritten_in_what_the_upstream_sees(make_head: "MakeHead") -> None:
    head = make_head("/a h.example:8080")
    apply_rewrite(Rewrite(hostname="up.example"), head, "/")
    assert (head.authority, head.path) == (b"up.example", b"/a")


FULL, PREFIX = PathRewrite("full", "/new"), PathRewrite("prefix", "/new")


@pytest.mark.parametrize(
    ("redirect", "port", "text", "expected"),
    [
        # the port of the listener, unless the scheme or the redirect says another; well-known ones are left out
        (Redirect(), 8080, "/a h.example", "http://h.example:8080/a"),
        (Redirect(), 80, "/a h.example", "http://h.example/a"),
        (Redirect(), 443, "/a h.example", "http://h.example:443/a"),
        (Redirect(scheme="https"), 8080, "/a h.example", "https://h.example/a"),
        (Redirect(scheme="http"), 8080, "/a h.example", "http://h.example/a"),
        (Redirect(scheme="https", port=443), 80, "/a h.example", "https://h.example/a"),
        (Redirect(scheme="http", port=80), 8080, "/a h.example", "http://h.example/a"),
        (Redirect(scheme="https", port=8443), 80, "/a h.example", "https://h.example:8443/a"),
        (Redirect(scheme="https", port=80), 80, "/a h.example", "https://h.example:80/a"),
        (Redirect(port=8081), 80, "/a h.example", "http://h.example:8081/a"),
        (Redirect(port=80), 8080, "/a h.example", "http://h.example/a"),
        # what the client has as port is not what it is sent to
        (Redirect(), 8080, "/a h.example:99", "http://h.example:8080/a"),
        (Redirect(hostname="o.example"), 80, "/a?q=1 h.example", "http://o.example/a?q=1"),
        (Redirect(path=FULL), 80, "/a/b?q=1 h.example", "http://h.example/new?q=1"),
        (Redirect(path=PREFIX), 80, "/a/b? h.example", "http://h.example/new/b?"),
        (Redirect(hostname="o.example"), 80, "* h.example", "http://o.example"),
        (Redirect(keep_query=False), 80, "/a?q=1 h.example", "http://h.example/a"),
        # Envoy's way: a host that is named has no port, the request's own stays with its host
        (Redirect(port=0), 8080, "/a h.example", "http://h.example/a"),
        (Redirect(port=0), 8080, "/a h.example:99", "http://h.example:99/a"),
        (Redirect(port=0), 8080, "/a h.example:80", "http://h.example:80/a"),
        (Redirect(port=0, hostname="o.example"), 8080, "/a h.example:99", "http://o.example/a"),
        (Redirect(port=0, scheme="https"), 8080, "/a h.example:80", "https://h.example/a"),
        (Redirect(port=0, scheme="https"), 8080, "/a h.example:8080", "https://h.example:8080/a"),
        (Redirect(port=0, scheme="ws"), 8080, "/a h.example:443", "ws://h.example:443/a"),
        (Redirect(port=0), 8080, "/a [::1]:99", "http://[::1]:99/a"),
        (Redirect(port=0), 8080, "/a [::1]", "http://[::1]/a"),
        # a client of HTTP/1.0 may have told no host; a second slash would make one of the path
        (Redirect(path=PREFIX), 8080, "/a/b ", "/new/b"),
        (Redirect(), 8080, "//evil.example ", "/evil.example"),
    ],
)
def test_the_location_of_a_redirect(
    make_head: "MakeHead", redirect: Redirect, port: int, text: str, expected: str
) -> None:
    assert make_location(redirect, make_head(text), "/a", port).decode() == expected


def test_a_redirect_keeps_the_scheme_that_tls_in_front_of_us_told(make_head: "MakeHead") -> None:
    head = make_head("/a h.example", x_forwarded_proto="https")
    assert make_location(Redirect(path=FULL), head, "/", 8080) == b"https://h.example/new"
    assert make_location(Redirect(scheme="http"), head, "/", 8080) == b"http://h.example/a"


def test_edits_remove_then_set_then_add() -> None:
    head = ResponseHead([(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"a", b"4")])
    edits = HeaderEdits(set=(("b", "new"), ("d", "5")), add=(("c", "6"), ("a", "7")), remove=("a",))
    for layer in compile_edits(edits):
        layer.apply(head)
    assert head.fields == [(b"c", b"3"), (b"b", b"new"), (b"d", b"5"), (b"c", b"6"), (b"a", b"7")]
    assert (head.get(b"c"), head.get(b"a"), head.get(b"b")) == (b"3,6", b"7", b"new")


def test_layers_of_edits_come_one_after_the_other(make_head: "MakeHead") -> None:
    head = make_head("/")
    route, backend = HeaderEdits(set=(("x", "route"),), add=(("y", "route"),)), HeaderEdits(set=(("x", "backend"),))
    for layer in compile_edits(route, HeaderEdits(), backend):
        layer.apply(head)
    assert head.fields == [(b"y", b"route"), (b"x", b"backend")]
    assert compile_edits(HeaderEdits()) == ()


def test_setting_or_adding_host_changes_the_one_authority(make_head: "MakeHead") -> None:
    for edits in (HeaderEdits(set=(("host", "o.example"),)), HeaderEdits(add=(("host", "o.example"),))):
        head = make_head("/ h.example")
        for layer in compile_edits(edits):
            layer.apply(head)
        assert (head.authority, head.fields) == (b"o.example", [])
