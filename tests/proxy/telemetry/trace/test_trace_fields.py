"""The fields of a trace's context, by the tables of their texts: W3C Trace Context, and B3."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.telemetry.trace.b3 import B3, NOTHING, read_multi, read_single, write_multi, write_single
from turnout.proxy.telemetry.trace.parent import (
    TRACEPARENT_BYTES,
    get_parent_id,
    get_trace_id,
    is_random,
    is_sampled,
    make_traceparent,
    read_traceparent,
)
from turnout.proxy.telemetry.trace.state import read_tracestate

T, P = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"

VALID = {
    "sampled": f"00-{T}-{P}-01",
    "not sampled": f"00-{T}-{P}-00",
    "flags that nobody knows": f"00-{T}-{P}-f8",
    "a later version, as long as this one": f"cc-{T}-{P}-01",
    "a later version, with more behind it": f"cc-{T}-{P}-01-what-the-future-will-be-like",
    "a later version, with an empty field behind it": f"cc-{T}-{P}-01-",
    "the last version": f"fe-{T}-{P}-01",
    "ids of which one digit is not zero": f"00-{'0' * 31}1-{'0' * 15}1-01",
}
INVALID = {
    "nothing": "",
    "no field": "00",
    "the first version, with more behind it": f"00-{T}-{P}-01-more",
    "the first version, with a dash behind it": f"00-{T}-{P}-01-",
    "the first version, with a digit behind it": f"00-{T}-{P}-010",
    "a later version, with something else behind it": f"cc-{T}-{P}-01.more",
    "the version that is none": f"ff-{T}-{P}-01",
    "a version in capitals": f"CC-{T}-{P}-01",
    "a version of letters": f".0-{T}-{P}-01",
    "a version that is too long": f"000-{T}-{P}-01",
    "a version that is too short": f"0-{T}-{P}-01",
    "a trace id of zeros": f"00-{'0' * 32}-{P}-01",
    "a trace id in capitals": f"00-{T.upper()}-{P}-01",
    "a trace id with a dot": f"00-.{T[1:]}-{P}-01",
    "a trace id that is too long": f"00-{T}0-{P}-01",
    "a trace id that is too short": f"00-{T[1:]}-{P}-01",
    "a parent of zeros": f"00-{T}-{'0' * 16}-01",
    "a parent in capitals": f"00-{T}-{P.upper()}-01",
    "a parent that is too long": f"00-{T}-{P}0-01",
    "a parent that is too short": f"00-{T}-{P[1:]}-01",
    "flags in capitals": f"00-{T}-{P}-0A",
    "flags of letters": f"00-{T}-{P}-.0",
    "flags that are too short": f"00-{T}-{P}-1",
    "other dashes": f"00_{T}_{P}_01",
    "two of them joined": f"00-{T}-{P}-01,00-{T}-{P}-01",
    "a blank before it": f" 00-{T}-{P}-01",
    "a line behind it": f"00-{T}-{P}-01\n",
    "a later version with a line behind it": f"cc-{T}-{P}-01\n",
    "a later version that is cut off": f"cc-{T}-{P}-",
}


@pytest.mark.parametrize("value", VALID.values(), ids=VALID)
def test_a_valid_traceparent_is_read(value: str) -> None:
    read = read_traceparent(value.encode())
    assert len(read) == TRACEPARENT_BYTES
    assert value.encode().startswith(read)
    assert (get_trace_id(read), get_parent_id(read)) == tuple(part.encode() for part in value.split("-")[1:3])


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID)
def test_an_invalid_traceparent_is_as_none(value: str) -> None:
    assert read_traceparent(value.encode()) == b""


@pytest.mark.parametrize("flags", range(256))
def test_flags_are_bits(flags: int) -> None:
    traceparent = read_traceparent(f"00-{T}-{P}-{flags:02x}".encode())
    assert is_sampled(traceparent) == bool(flags & 1)
    assert is_random(traceparent) == bool(flags & 2)


@given(
    st.binary(max_size=80)
    | st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z").map(str.encode)
)
def test_what_is_read_is_what_the_text_says(value: bytes) -> None:
    """The grammar told once more, field by field."""
    fields = value.split(b"-")
    is_valid = (
        len(fields) >= 4
        and all(
            re.fullmatch(b"[0-9a-f]{%d}" % size, field) for field, size in zip(fields, (2, 32, 16, 2), strict=False)
        )
        and fields[0] != b"ff"
        and (fields[0] != b"00" or len(fields) == 4)
        and bool(fields[1].strip(b"0") and fields[2].strip(b"0"))
    )
    assert read_traceparent(value) == (b"-".join(fields[:4]) if is_valid else b"")


@pytest.mark.parametrize(("sampled", "random", "flags"), [(0, 0, "00"), (1, 0, "01"), (0, 1, "02"), (1, 1, "03")])
def test_what_is_written_can_be_read(sampled: int, random: int, flags: str) -> None:
    written = make_traceparent(T.encode(), P.encode(), sampled=bool(sampled), random=bool(random))
    assert written == f"00-{T}-{P}-{flags}".encode()
    assert read_traceparent(written) == written


ALLOWED = "".join(map(chr, range(0x20, 0x7F))).replace(",", "").replace("=", "")
STATES = {
    "one member": ("foo=1", "foo=1"),
    "two": ("foo=1,bar=2", "foo=1,bar=2"),
    "blanks around members": ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
    "empty members": ("foo=1,,bar=2, ,", "foo=1,bar=2"),
    "nothing": ("", ""),
    "only blanks": (" , ", ""),
    "a tenant and a system": ("0tenant@v1=a", "0tenant@v1=a"),
    "the same key twice": ("foo=1,foo=2", "foo=1,foo=2"),
    "all that a key may have": ("a0_-*/@z=1", "a0_-*/@z=1"),
    "all that a value may have": (f"foo={ALLOWED}", f"foo={ALLOWED}"),
    "a blank within a value": ("foo=1 2", "foo=1 2"),
    "32 members": (t := ",".join(f"bar{at}={at}" for at in range(32)), t),
    "33 members": (t + ",bar32=32", ""),
    "a key of 256": (t := f"{'z' * 256}=1", t),
    "a key of 257": ("z" * 257 + "=1", ""),
    "a value of 256": (t := f"foo={'v' * 256}", t),
    "a value of 257": (f"foo={'v' * 257}", ""),
    "a key in capitals": ("FOO=1", ""),
    "a key with a blank": ("foo =1", ""),
    "a key that begins with an at": ("@foo=1", ""),
    "no key": ("=1", ""),
    "no value": ("foo=", ""),
    "no equals": ("foo", ""),
    "two equals": ("foo=bar=baz", ""),
    "a value with a tab": ("foo=a\tb", ""),
    "a value that is not ASCII": ("foo=\xe9", ""),
    "one of two that is not valid": ("foo=1,BAR=2", ""),
}  # fmt: skip


@pytest.mark.parametrize(("came", "goes_on"), STATES.values(), ids=STATES)
def test_a_tracestate_is_taken_whole_or_not_at_all(came: str, goes_on: str) -> None:
    assert read_tracestate(came.encode("latin-1")) == goes_on.encode()


SHORT = T[16:]
SINGLE = {
    "sampled": (f"{T}-{P}-1", B3(f"00-{T}-{P}-01".encode(), True, False)),
    "not sampled": (f"{T}-{P}-0", B3(f"00-{T}-{P}-00".encode(), False, False)),
    "with its parent": (f"{T}-{P}-1-05e3ac9a4f6e3b90", B3(f"00-{T}-{P}-01".encode(), True, False)),
    "debug": (f"{T}-{P}-d", B3(f"00-{T}-{P}-01".encode(), True, True)),
    "no decision": (f"{T}-{P}", B3(f"00-{T}-{P}-00".encode(), None, False)),
    "64 bits": (f"{SHORT}-{P}-1", B3(f"00-{'0' * 16}{SHORT}-{P}-01".encode(), True, False)),
    "capitals": (f"{T.upper()}-{P.upper()}-1", B3(f"00-{T}-{P}-01".encode(), True, False)),
    "no to all": ("0", B3(b"", False, False)),
    "yes to all": ("1", B3(b"", True, False)),
    "debug to all": ("d", B3(b"", True, True)),
    "nothing": ("", NOTHING),
    "zeros": (f"{'0' * 32}-{P}-1", NOTHING),
    "a span of zeros": (f"{T}-{'0' * 16}-1", NOTHING),
    "another length": (f"{T[2:]}-{P}-1", NOTHING),
    "another decision": (f"{T}-{P}-2", NOTHING),
    "more behind it": (f"{T}-{P}-1-05e3ac9a4f6e3b90-1", NOTHING),
    "a W3C field": (f"00-{T}-{P}-01", NOTHING),
}


@pytest.mark.parametrize(("value", "said"), SINGLE.values(), ids=SINGLE)
def test_b3_in_one_field(value: str, said: B3) -> None:
    assert read_single(value.encode()) == said


MULTI = {
    "sampled": ((T, P, "1", ""), B3(f"00-{T}-{P}-01".encode(), True, False)),
    "sampled, as older ones say it": ((T, P, "true", ""), B3(f"00-{T}-{P}-01".encode(), True, False)),
    "not sampled": ((T, P, "0", ""), B3(f"00-{T}-{P}-00".encode(), False, False)),
    "no decision": ((SHORT, P, "", ""), B3(f"00-{'0' * 16}{SHORT}-{P}-00".encode(), None, False)),
    "debug": ((T, P, "", "1"), B3(f"00-{T}-{P}-01".encode(), True, True)),
    "only a decision": (("", "", "0", ""), B3(b"", False, False)),
    "nothing": (("", "", "", ""), NOTHING),
    "a trace without a span": ((T, "", "1", ""), NOTHING),
    "two joined": ((f"{T},{T}", P, "1", ""), NOTHING),
    "zeros": (("0" * 32, P, "1", ""), NOTHING),
}


@pytest.mark.parametrize(("values", "said"), MULTI.values(), ids=MULTI)
def test_b3_in_several_fields(values: tuple[str, str, str, str], said: B3) -> None:
    assert read_multi(*(value.encode() for value in values)) == said


@pytest.mark.parametrize(("sampled", "debug"), [(True, False), (False, False), (True, True)])
def test_what_is_written_in_b3_can_be_read(sampled: bool, debug: bool) -> None:
    ids = T.encode(), P.encode()
    said = B3(make_traceparent(*ids, sampled=sampled), sampled, debug)
    assert read_single(write_single(*ids, sampled=sampled, debug=debug)) == said
    fields = dict(write_multi(*ids, sampled=sampled, debug=debug))
    names = (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags")
    assert read_multi(*(fields.get(name, b"") for name in names)) == said


@given(st.binary(max_size=60))
def test_no_bytes_break_a_reader(value: bytes) -> None:
    assert read_tracestate(value) in (b"", read_tracestate(read_tracestate(value)))
    for said in (read_single(value), read_multi(value, value[:16], b"1", b"")):
        assert said.traceparent in (b"", read_traceparent(said.traceparent))
