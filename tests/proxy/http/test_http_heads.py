"""A head in hand: looked up, changed, and never out of step with itself."""

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.head import RequestHead, ResponseHead

NAMES = st.sampled_from([b"a", b"b", b"c"])
CHANGES = st.lists(st.tuples(st.sampled_from(["get", "add", "set", "remove"]), NAMES, st.sampled_from([b"1", b"2"])))


def test_several_fields_of_a_name_are_joined_in_their_order():
    head = RequestHead([(b"a", b"1"), (b"b", b"x"), (b"a", b"2"), (b"a", b"")])
    assert (head.get(b"a"), head.get(b"b"), head.get(b"c")) == (b"1,2,", b"x", None)


def test_set_replaces_all_fields_of_the_name_and_leaves_the_others():
    head = ResponseHead([(b"a", b"1"), (b"b", b"x"), (b"a", b"2")])
    head.set(b"a", b"3")
    assert sorted(head.fields) == [(b"a", b"3"), (b"b", b"x")]


def test_fields_that_frame_the_connection_are_not_removed_by_being_named():
    head = RequestHead([(b"a", b"1"), (b"b", b"2")])
    head.remove_named([b"close", b"keep-alive", b"a"])
    assert head.fields == [(b"b", b"2")]


def test_heads_share_nothing():
    first, second = RequestHead([]), RequestHead([])
    first.add(b"a", b"1")
    assert (second.fields, second.get(b"a")) == ([], None)
    assert ResponseHead([]).trailers == []


def test_the_target_is_path_and_query():
    head = RequestHead([])
    head.path = b"/a"
    assert head.target == b"/a"
    head.query = b""
    assert head.target == b"/a?"
    head.query = b"b=c"
    assert head.target == b"/a?b=c"


@given(changes=CHANGES)
def test_a_look_up_always_tells_what_the_fields_say(changes):
    head = RequestHead([(b"a", b"0"), (b"b", b"0")])
    for verb, name, value in changes:
        if verb == "remove":
            head.remove((name,))
        elif verb == "get":
            head.get(name)
        else:
            getattr(head, verb)(name, value)
        values = [said for field, said in head.fields if field == name]
        assert head.get(name) == (b",".join(values) if values else None)
