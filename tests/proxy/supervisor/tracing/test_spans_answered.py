"""What a collector says of a batch that it took; and what a worker's end says of spans that never came."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.supervisor.tracing.answer import MAX_BYTES, MAX_MESSAGE, Answer, read_answer
from turnout.proxy.supervisor.tracing.arrivals import Arrivals

ALL = Answer(taken=True)
ANSWERS: dict[str, tuple[str, Answer]] = {
    "nothing": ("", ALL),
    "an empty one": ("{}", ALL),
    "with nothing in it": ('{"partialSuccess": {}}', ALL),
    "null": ('{"partialSuccess": null}', ALL),
    "a number as text": ('{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "late"}}', Answer(True, 3, "late")),
    "a number": ('{"partialSuccess": {"rejectedSpans": 3}}', Answer(True, 3)),
    "a word alone": ('{"partialSuccess": {"errorMessage": "use gRPC"}}', Answer(True, 0, "use gRPC")),
    "fields that nobody knows": ('{"partialSuccess": {"rejectedSpans": 1, "x": [1]}, "y": 2}', Answer(True, 1)),
    "more than were sent": ('{"partialSuccess": {"rejectedSpans": 99}}', Answer(True, 10)),
    "fewer than none": ('{"partialSuccess": {"rejectedSpans": -1}}', ALL),
    "a number that is none": ('{"partialSuccess": {"rejectedSpans": "many"}}', ALL),
    "another thing": ("<html>thank you</html>", ALL),
    "protobuf": ("\n\x02\x08\x01", ALL),
}


@pytest.mark.parametrize(("body", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_says(body: str, answer: Answer) -> None:
    assert read_answer(body.encode(), 10) == answer


def test_a_long_word_is_cut_and_a_huge_answer_is_not_read() -> None:
    def answer(size: int) -> bytes:
        return json.dumps({"partialSuccess": {"rejectedSpans": 2, "errorMessage": "a" * size}}).encode()

    assert read_answer(answer(MAX_MESSAGE + 1), 10) == Answer(True, 2, "a" * MAX_MESSAGE)
    assert read_answer(answer(MAX_BYTES), 10) == ALL


NAMES = st.sampled_from(["partialSuccess", "rejectedSpans", "errorMessage"])
LIKE_ANSWERS = st.recursive(st.integers() | st.text(), lambda inner: st.dictionaries(NAMES, inner))


@given(st.binary(max_size=64) | LIKE_ANSWERS.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_answer_is_no_more_are_rejected_than_were_sent(body: bytes) -> None:
    answer = read_answer(body, 10)
    assert answer.taken
    assert 0 <= answer.rejected <= 10


def test_spans_that_a_worker_recorded_and_did_not_tell_of_are_lost_with_it() -> None:
    arrivals = Arrivals()
    arrivals.on_spans(0, 5)
    arrivals.on_spans(1, 7)
    assert arrivals.on_death(0, recorded=8) == 3
    arrivals.on_spans(0, 2)  # of its successor, which counts on in the same block
    assert arrivals.on_death(0, recorded=10) == 0
    assert arrivals.on_death(1, recorded=7) == 0
    assert arrivals.on_death(2, recorded=0) == 0, "one that never recorded any"
