"""Request targets (RFC 9112 §3.2) and paths (RFC 3986 §5.2.4): what is matched is what is forwarded."""

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.target import normalize_path, split_target

SEGMENTS = [
    b"",
    b"a",
    b".",
    b"..",
    b"...",
    b"%2e",
    b"%2E",
    b".%2e",
    b"%2e%2E",
    b"%2F",
    b"..%2f",
    b"%252e",
    b".a",
    b"a.",
    b"..;",
    b"%",
    b"%61",
    b"%%36",
    b"%2%46",
]
PATHS = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=8).map(lambda segments: b"/" + b"/".join(segments))
ESCAPES = st.text(alphabet="%%%%0123456789abcdefABCDEF/.").map(lambda text: f"/{text}".encode())
ANY_PATHS = PATHS | ESCAPES.filter(lambda path: b"%00" not in path)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/.", b"/a/b/"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/../../a", b"/a"),
        (b"/a/../../../b", b"/b"),
        (b"/a/%2e/b", b"/a/b"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a/.%2e/b", b"/b"),
        (b"/a/%2E./b", b"/b"),
        (b"/a/%2e%2e", b"/"),
        (b"/a%2Fb", b"/a%2Fb"),
        (b"/a%2f..%2fb", b"/a%2f..%2fb"),
        (b"/a/..%2Fb", b"/a/..%2Fb"),
        (b"/%252e%252e/a", b"/%252e%252e/a"),
        (b"/%61%5A%30%7e%2D%5f", b"/aZ0~-_"),
        (b"/%2561", b"/%2561"),
        (b"/%40%5B%60%7B%3a%c3%bc%20", b"/%40%5B%60%7B%3a%c3%bc%20"),
        (b"/%%361", b"/%%361"),
        (b"/%2%35", b"/%2%35"),
        (b"/a//b", b"/a//b"),
        (b"/a//../b", b"/a/b"),
        (b"/...", b"/..."),
        (b"/.a/a./..b", b"/.a/a./..b"),
        (b"/a/..;/b", b"/a/..;/b"),
    ],
)
def test_dot_segments_are_resolved_and_what_needs_no_escape_has_none(path, normal):
    assert normalize_path(path) == normal
    assert split_target(path + b"?/../%2e", b"GET") == (normal, b"/../%2e", None)


@given(path=ANY_PATHS)
def test_a_normal_path_stays_as_it_is(path):
    normal = normalize_path(path)
    assert normalize_path(normal) == normal
    assert split_target(normal, b"GET") == (normal, None, None)


@given(path=ANY_PATHS)
def test_a_normal_path_has_no_dot_segment_however_it_is_spelled(path):
    normal = normalize_path(path)
    assert normal.startswith(b"/")
    decoded = normal.replace(b"%2e", b".").replace(b"%2E", b".")
    assert not {b".", b".."} & set(decoded.split(b"/"))


@given(segments=st.lists(st.sampled_from([b"a", b"b", b".", b".."]), min_size=1, max_size=8))
def test_dot_segments_mean_what_they_mean_in_the_standard_library(segments):
    path = b"/" + b"/".join(segments)
    assert normalize_path(path).decode() == urljoin("http://h/", path.decode()).removeprefix("http://h") or "/"


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/a", (b"/a", None, None)),
        (b"/a?", (b"/a", b"", None)),
        (b"/a?b?c", (b"/a", b"b?c", None)),
        (b"/a?b=%00", (b"/a", b"b=%00", None)),
        (b"//a/b", (b"//a/b", None, None)),
        (b"/http://a/b", (b"/http://a/b", None, None)),
        (b"http://a/b?c", (b"/b", b"c", b"a")),
        (b"HTTPS://A:1/b/../c", (b"/c", None, b"A:1")),
        (b"http://a", (b"/", None, b"a")),
        (b"http://a?b", (b"/", b"b", b"a")),
        (b"http://[::1]:80/", (b"/", None, b"[::1]:80")),
    ],
)
def test_a_target_is_split_into_path_query_and_authority(target, parts):
    assert split_target(target, b"GET") == parts


def test_the_asterisk_is_for_options_only():
    assert split_target(b"*", b"OPTIONS") == (b"*", None, None)
    with pytest.raises(MalformedError):
        split_target(b"*", b"GET")


@pytest.mark.parametrize(
    "target",
    [
        b"", b"a", b"a/b", b"a:80", b"?a", b"#", b"*/", b"/a#b", b"/a?b#c", b"/#", b"http://a/#b", b"http://a#b",
        b"/a\\b", b"\\a", b"/a?b\\c", b"http:a", b"http:/a", b"http//a", b"ftp://a/", b"ws://a/",
        b"/a%00b", b"/%00", b"http://a/%00",
    ],
)  # fmt: skip
def test_targets_that_are_none_or_mean_different_things_to_others_are_refused(target):
    with pytest.raises(MalformedError):
        split_target(target, b"GET")


@given(target=st.binary(max_size=40))
def test_any_bytes_are_a_target_or_malformed(target):
    try:
        path, _, _ = split_target(target, b"GET")
    except MalformedError:
        return
    assert path.startswith(b"/")
    assert b"#" not in path
    assert b"\\" not in path
