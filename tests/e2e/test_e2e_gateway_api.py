"""What Gateway API's conformance tests expect of HTTPRoute, over the wire."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors.documents import predictor, route
from actors.echo import Echo
from actors.proxy import Proxy
from actors.wire import Message, connect
from free_ports import free_port

METHODS = """{hostnames: [methods.test], rules: [
  {matches: [{method: POST}], backendRefs: [{name: v1}]},
  {matches: [{method: GET}], backendRefs: [{name: v2}]},
  {matches: [{path: {value: /path1}, method: GET}], backendRefs: [{name: v1}]},
  {matches: [{headers: [{name: version, value: one}], method: PUT}], backendRefs: [{name: v2}]},
  {matches: [{path: {value: /path2}, headers: [{name: version, value: two}], method: POST}], backendRefs: [{name: v3}]},
  {matches: [{path: {value: /path3}, method: PATCH},
             {path: {value: /path4}, headers: [{name: version, value: three}], method: DELETE}],
   backendRefs: [{name: v1}]},
  {matches: [{path: {value: /path5}}], backendRefs: [{name: v1}]},
  {matches: [{method: PATCH}], backendRefs: [{name: v2}]},
  {matches: [{headers: [{name: version, value: four}]}], backendRefs: [{name: v3}]}]}"""

EXACT, WILD = "{hostnames: [%s], rules: [{backendRefs: [{name: %s}]}]}", '{hostnames: ["*.bar.com", "*.foo.com"], %s}'


def redirect(path: str, what: str) -> str:
    filter_ = f"{{type: RequestRedirect, requestRedirect: {{{what}}}}}"
    return f"{{matches: [{{path: {{value: {path}}}}}], filters: [{filter_}]}}"


PREFIX = "path: {type: ReplacePrefixMatch, replacePrefixMatch: %s}"
FULL = "path: {type: ReplaceFullPath, replaceFullPath: %s}"
REDIRECTS = [
    ("/host", "hostname: example.org"),
    ("/host-and-status", "hostname: example.org, statusCode: 301"),
    ("/see-other", "statusCode: 303"),
    ("/temporary", "statusCode: 307"),
    ("/permanent", "statusCode: 308"),
    ("/prefix", PREFIX % "/new"),
    ("/full", FULL % "/all-new"),
    ("/to-root", PREFIX % "/"),
    ("/https", "scheme: https"),
    ("/port", "port: 8083"),
    ("/scheme-and-port", "scheme: https, port: 8443"),
    ("/well-known", "scheme: http, port: 80"),
    ("/all", f"scheme: https, hostname: example.org, port: 443, statusCode: 301, {PREFIX % '/new'}"),
]

EDITS = """
  {matches: [{path: {value: /set}}], backendRefs: [{name: v1}], filters: [
    {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Header-Set, value: mine}]}},
    {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: mine}]}}]},
  {matches: [{path: {value: /add}}], backendRefs: [{name: v1}], filters: [
    {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-Header-Add, value: more}]}},
    {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Header-Add, value: more}]}}]},
  {matches: [{path: {value: /remove}}], backendRefs: [{name: v1}], filters: [
    {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [X-Header-Remove]}},
    {type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Header-Remove]}}]},
  {matches: [{path: {value: /rewrite-host}}], backendRefs: [{name: v1}], filters: [
    {type: URLRewrite, urlRewrite: {hostname: one.example.org}}]},
  {matches: [{path: {value: /rewrite-full}}], backendRefs: [{name: v1}], filters: [
    {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}]},
  {matches: [{path: {value: /strip}}], backendRefs: [{name: v1}], filters: [
    {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]},
  {matches: [{path: {value: /prefix/one}}], backendRefs: [{name: v1}], filters: [
    {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}]},
  {matches: [{path: {type: Exact, value: /omitted}}]},
  {matches: [{path: {type: Exact, value: /no-backend}}], backendRefs: []},
  {matches: [{path: {value: /forbidden}}], backendRefs: [{name: other, namespace: elsewhere}]},
  {matches: [{path: {value: /}}], backendRefs: [{name: v2}]}"""


class Site:
    """A proxy with all of these rules; its three upstreams listen where it expects them, test by test."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("v1", "v2", "v3")}
        rules = ", ".join(redirect(*one) for one in REDIRECTS)
        text = "".join(predictor(name, port) for name, port in self.ports.items()) + "---".join(
            [
                route(METHODS, "methods"),
                route(EXACT % ("bar.com", "v1"), "bar"),
                route(EXACT % ("foo.bar.com", "v2"), "foo-bar"),
                route(WILD % "rules: [{backendRefs: [{name: v3}]}]", "wild"),
                route(f"{{hostnames: [moved.test], rules: [{rules}]}}", "moved"),
                route(f"{{hostnames: [edited.test], rules: [{EDITS}]}}", "edited"),
            ]
        )
        self.proxy = Proxy(folder, text)

    async def ask(self, host: str, target: str, method: str = "GET", *fields: str, answer: list[str] | None = None) -> (
        tuple[Message, Message | None, str]
    ):  # fmt: skip
        """The answer, and what which upstream saw."""
        async with (
            Echo("v1", self.ports["v1"]) as v1,
            Echo("v2", self.ports["v2"]) as v2,
            Echo("v3", self.ports["v3"]) as v3,
        ):
            echoes = (v1, v2, v3)
            for echo in echoes:
                echo.fields = ["Connection: close", *(answer or ())]
            wire = await connect(self.proxy.port)
            lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
            await wire.send("\r\n".join(lines).encode())
            got = await wire.read_response(method)
            wire.close()
            seen = [(echo.seen[0], echo.name) for echo in echoes if echo.seen]
            return got, *(seen[0] if seen else (None, ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("gateway-api"))
    yield site
    site.proxy.close()


@pytest.mark.parametrize(
    ("method", "target", "version", "backend"),
    [
        ("POST", "/", "", "v1"),
        ("GET", "/", "", "v2"),
        ("HEAD", "/", "", None),
        ("GET", "/path1", "", "v1"),
        ("PUT", "/", "one", "v2"),
        ("POST", "/path2", "two", "v3"),
        ("PATCH", "/path3", "", "v1"),
        ("DELETE", "/path4", "three", "v1"),
        ("PUT", "/", "", None),
        ("DELETE", "/path4", "", None),
        ("PATCH", "/path5", "", "v1"),
        ("PATCH", "/", "four", "v2"),
    ],
)
async def test_methods_and_their_precedence(
    site: Site, method: str, target: str, version: str, backend: str | None
) -> None:
    answer, _, who = await site.ask("methods.test", target, method, *([f"Version: {version}"] if version else []))
    assert (answer.status, who) == ((200, backend) if backend else (404, ""))


@pytest.mark.parametrize(
    ("host", "backend"),
    [
        ("bar.com", "v1"),
        ("foo.bar.com", "v2"),
        ("baz.bar.com", "v3"),
        ("multiple.prefixes.bar.com", "v3"),
        ("multiple.prefixes.foo.com", "v3"),
        ("foo.com", None),
        ("no.matching.host", None),
        ("BAR.com:8080", "v1"),
    ],
)
async def test_hostnames_and_wildcards(site: Site, host: str, backend: str | None) -> None:
    answer, _, who = await site.ask(host, "/")
    assert (answer.status, who) == ((200, backend) if backend else (404, ""))


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/host", 302, "http://example.org:{port}/host"),
        ("/host-and-status", 301, "http://example.org:{port}/host-and-status"),
        ("/see-other", 303, "http://moved.test:{port}/see-other"),
        ("/temporary", 307, "http://moved.test:{port}/temporary"),
        ("/permanent", 308, "http://moved.test:{port}/permanent"),
        ("/prefix/lemon?a=b", 302, "http://moved.test:{port}/new/lemon?a=b"),
        ("/prefix", 302, "http://moved.test:{port}/new"),
        ("/full/path/original", 302, "http://moved.test:{port}/all-new"),
        ("/to-root/a", 302, "http://moved.test:{port}/a"),
        ("/to-root", 302, "http://moved.test:{port}/"),
        ("/https", 302, "https://moved.test/https"),
        ("/port", 302, "http://moved.test:8083/port"),
        ("/scheme-and-port", 302, "https://moved.test:8443/scheme-and-port"),
        ("/well-known", 302, "http://moved.test/well-known"),
        ("/all/x", 301, "https://example.org/new/x"),
    ],
)
async def test_redirects_say_where_to(site: Site, target: str, status: int, location: str) -> None:
    answer, seen, _ = await site.ask("moved.test", target, "POST")
    assert (answer.status, answer.get("location")) == (status, location.format(port=site.proxy.port))
    assert seen is None


async def test_set_replaces_add_appends_and_remove_takes_away_in_both_directions(site: Site) -> None:
    fields = ["x-header-set: old", "X-HEADER-ADD: old", "x-Header-Remove: old", "X-Other: same"]
    expected = {"x-header-set": "old", "x-header-add": "old", "x-header-remove": "old", "x-other": "same"}
    changes = {
        "/set": ("x-header-set", "mine"),
        "/add": ("x-header-add", "old,more"),
        "/remove": ("x-header-remove", None),
    }
    for target, (name, value) in changes.items():
        answer, seen, _ = await site.ask("edited.test", target, "GET", *fields, answer=fields)
        assert seen is not None
        for message in (answer, seen):
            assert {key: message.get(key) for key in expected} == {**expected, name: value}


async def test_set_and_add_make_what_is_not_there(site: Site) -> None:
    for target, name, value in (("/set", "x-header-set", "mine"), ("/add", "x-header-add", "more")):
        answer, seen, _ = await site.ask("edited.test", target)
        assert seen is not None
        assert answer.get(name) == seen.get(name) == value


@pytest.mark.parametrize(
    ("target", "host", "forwarded"),
    [
        ("/rewrite-host/a?b", "one.example.org", "/rewrite-host/a?b"),
        ("/rewrite-full/three?b=c", "edited.test", "/one?b=c"),
        ("/strip/three", "edited.test", "/three"),
        ("/strip", "edited.test", "/"),
        ("/prefix/one/two", "edited.test", "/one/two"),
        ("/prefix/one", "edited.test", "/one"),
        ("/prefix/one/", "edited.test", "/one/"),
    ],
)
async def test_rewrites_change_what_the_upstream_sees(site: Site, target: str, host: str, forwarded: str) -> None:
    _, seen, _ = await site.ask("edited.test", target)
    assert seen is not None
    assert (seen.all("host"), seen.target) == ([host], forwarded)


@pytest.mark.parametrize("target", ["/omitted", "/no-backend", "/forbidden/x"])
async def test_a_rule_without_a_usable_backend_is_a_500(site: Site, target: str) -> None:
    answer, seen, _ = await site.ask("edited.test", target)
    assert (answer.status, seen) == (500, None)
    assert json.loads(answer.body)["error"]["flag"] == "NC"


async def test_a_sibling_of_a_broken_rule_works(site: Site) -> None:
    answer, _, who = await site.ask("edited.test", "/forward")
    assert (answer.status, who) == (200, "v2")
