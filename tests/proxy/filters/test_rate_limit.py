"""Rate limits: a token bucket's arithmetic, one for the whole proxy, and of bounded memory whatever clients send."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.filters.rate_limit import RateLimiter, encode_retry_after
from turnout.proxy.http.head import RequestHead
from turnout.proxy.telemetry.buckets import ROW_WORDS, ROWS, TABLE_WORDS, WAYS, Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.rules.resilience import RateLimit

BUCKET, SHARED, USES, TABLE = 0, 1, 2, 8
SALT = b"a secret"
PLAIN = RequestHead()


def request(value: bytes) -> RequestHead:
    return RequestHead([(b"x-user", value)])


def limiters(config: RateLimit, workers: int) -> list[RateLimiter]:
    blocks = [memoryview(bytearray(8 * (TABLE + TABLE_WORDS))).cast("Q") for _ in range(workers)]
    made = []
    for own in blocks:
        others = [other for other in blocks if other is not own]
        counters = Counters(own, others)
        made.append(RateLimiter(config, Buckets(own, others, TABLE), counters, (BUCKET, SHARED, USES), SALT))
    return made


def uses(limiter: RateLimiter) -> int:
    return int(limiter._counters.words[USES])


def test_a_full_bucket_holds_the_burst_and_refills_at_the_rate() -> None:
    (limiter,) = limiters(RateLimit(per_second=10.0, burst=3), 1)
    assert [limiter.admit(PLAIN, 100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.admit(PLAIN, 100.0) == pytest.approx(0.1, abs=1e-5)
    assert limiter.admit(PLAIN, 100.09) > 0
    assert limiter.admit(PLAIN, 100.1) == 0.0
    assert limiter.admit(PLAIN, 100.1) > 0
    assert [limiter.admit(PLAIN, 500.0) for _ in range(4)][:3] == [0.0, 0.0, 0.0]
    assert limiter.admit(PLAIN, 500.0) > 0


def test_what_is_refused_takes_no_token() -> None:
    (limiter,) = limiters(RateLimit(per_second=1.0, burst=1), 1)
    assert limiter.admit(PLAIN, 0.0) == 0.0
    for tenth in range(1, 10):
        assert limiter.admit(PLAIN, tenth / 10) > 0
    assert limiter.admit(PLAIN, 1.0) == 0.0


@given(
    per_second=st.floats(0.001, 100_000), burst=st.integers(1, 50), start=st.floats(0, 1e7), seed=st.integers(0, 2**32)
)
def test_whoever_waits_as_told_is_admitted(per_second: float, burst: int, start: float, seed: int) -> None:
    (limiter,) = limiters(RateLimit(per_second=per_second, burst=burst), 1)
    dice, now = random.Random(seed), start
    for _ in range(3 * burst):
        wait = limiter.admit(PLAIN, now)
        if wait:
            assert wait <= 1 / per_second + 3e-6
            now += wait
            assert limiter.admit(PLAIN, now) == 0.0
        now += dice.random() / per_second / 10


@given(
    per_second=st.floats(1, 1000), burst=st.integers(1, 20), workers=st.integers(1, 4), seed=st.integers(0, 2**32),
    header=st.sampled_from(["", "x-user"]),
)  # fmt: skip
def test_all_workers_together_admit_burst_and_rate(
    per_second: float, burst: int, workers: int, seed: int, header: str
) -> None:
    proxy = limiters(RateLimit(per_second=per_second, burst=burst, header=header), workers)
    dice, now, admitted = random.Random(seed), 50.0, 0
    head = request(b"alice")
    for _ in range(200):
        now += dice.random() / per_second
        admitted += dice.choice(proxy).admit(head, now) == 0.0
    allowed = burst + (now - 50.0) * per_second
    assert admitted <= allowed + 1e-3
    assert admitted >= min(200, int(allowed)) - burst - 100


def test_each_value_has_a_bucket_and_requests_without_the_header_share_one() -> None:
    one, two = limiters(RateLimit(per_second=1.0, burst=1, header="x-user"), 2)
    assert one.admit(request(b"alice"), 9.0) == 0.0
    assert two.admit(request(b"alice"), 9.0) > 0
    assert two.admit(request(b"bob"), 9.0) == 0.0
    assert one.admit(PLAIN, 9.0) == 0.0
    assert two.admit(PLAIN, 9.0) > 0
    assert one.admit(request(b""), 9.0) == 0.0
    assert one.admit(request(b"alice"), 10.0) == 0.0
    assert two.admit(request(b"alice"), 10.5) > 0


def test_random_values_fill_no_memory_and_those_beyond_share_a_bucket() -> None:
    (limiter,) = limiters(RateLimit(per_second=0.01, burst=1, header="x-user"), 1)
    admitted = sum(limiter.admit(request(b"%d" % number), 1.0) == 0.0 for number in range(3 * ROWS * WAYS))
    assert admitted <= ROWS * WAYS + 1
    assert uses(limiter) >= 2 * ROWS * WAYS - 1
    assert limiter.admit(PLAIN, 1.0) == 0.0, "requests without the header are not harmed"


def test_a_bucket_that_is_full_again_gives_its_place_to_another() -> None:
    (limiter,) = limiters(RateLimit(per_second=1.0, burst=1, header="x-user"), 1)
    for second in range(10):
        for number in range(2_000):
            assert limiter.admit(request(b"%d-%d" % (second, number)), 10.0 * second) == 0.0
    assert uses(limiter) == 0


def test_one_row_takes_as_many_as_it_has_places() -> None:
    own = memoryview(bytearray(8 * TABLE_WORDS)).cast("Q")
    buckets = Buckets(own, (), 0)
    taken = [buckets.take_hashed(5 + ROWS * way, 1_000, 100, 300) for way in range(WAYS + 1)]
    assert taken == [0] * WAYS + [-1]
    assert buckets.take_hashed(5, 1_000, 100, 300) == 0
    assert buckets.take_hashed(5 + ROWS * WAYS, 1_100, 100, 300) == 0, "a bucket is full again"
    assert buckets.take_hashed(5, 1_100, 100, 300) == 0
    assert not any(own[: 5 * ROW_WORDS]), "other rows are not touched"
    assert not any(own[6 * ROW_WORDS :])


class Stale:
    """A block whose reader sees what it held a moment ago, once: another worker writes in between."""

    def __init__(self, words: memoryview) -> None:
        self.words = words
        self.before: int | None = None

    def __getitem__(self, word: int) -> int:
        before, self.before = self.before, None
        return int(self.words[word]) if before is None else before


def test_a_token_that_two_workers_take_at_once_is_missing_later() -> None:
    blocks = [memoryview(bytearray(8)).cast("Q") for _ in range(2)]
    seen = Stale(blocks[1])
    one, two = Buckets(blocks[0], [seen], 0), Buckets(blocks[1], [blocks[0]], 0)  # type: ignore[list-item]
    assert two.take(0, 1_000, 100, 200) == 0
    seen.before = 0  # worker one decides before it could see that
    assert one.take(0, 1_000, 100, 200) == 0
    assert one.take(0, 1_000, 100, 200) == 100
    assert two.take(0, 1_000, 100, 200) == 100


def test_routes_do_not_share_the_buckets_of_their_values() -> None:
    own = memoryview(bytearray(8 * (TABLE + TABLE_WORDS))).cast("Q")
    buckets, config = Buckets(own, (), TABLE), RateLimit(per_second=1.0, burst=1, header="x-user")
    one = RateLimiter(config, buckets, Counters(own), (0, 1, 2), SALT)
    two = RateLimiter(config, buckets, Counters(own), (3, 4, 5), SALT)
    assert one.admit(request(b"alice"), 5.0) == 0.0
    assert two.admit(request(b"alice"), 5.0) == 0.0


@pytest.mark.parametrize("per_second", [1e-300, 1e-9, 1e12])
def test_extreme_rates_fit_into_a_word(per_second: float) -> None:
    one, two = limiters(RateLimit(per_second=per_second, burst=1_000_000_000, header="x-user"), 2)
    assert all(limiter.admit(request(b"a"), 1e7) == 0.0 for limiter in (one, two, one))


@pytest.mark.parametrize(("wait", "text"), [(1e-6, b"1"), (1.0, b"1"), (1.2, b"2"), (3600.0, b"3600")])
def test_retry_after_is_whole_seconds_rounded_up(wait: float, text: bytes) -> None:
    assert encode_retry_after(wait) == text
