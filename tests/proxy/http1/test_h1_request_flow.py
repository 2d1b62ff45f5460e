"""One request at a time: what comes early is kept, and told on when it is asked for."""

import tracemalloc

FIRST = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
SECOND = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def paths(log):
    return [message.head.path for message in log.messages]


def test_a_second_request_waits_until_it_is_asked_for(read_requests, cuttings):
    for pieces in cuttings(FIRST + SECOND + SECOND):
        log = read_requests(pieces, wait=True)
        assert paths(log) == [b"/1"]
        assert log.kept_bytes == 2 * len(SECOND)
        log.decoder.next()
        assert paths(log) == [b"/1", b"/2"]
        assert log.kept_bytes == len(SECOND)
        log.decoder.next()
        log.decoder.next()
        assert paths(log) == [b"/1", b"/2", b"/2"]
        assert log.kept_bytes == 0


def test_half_a_second_request_is_kept_and_completed_later(read_requests):
    log = read_requests([FIRST + SECOND[:10]], wait=True)
    log.decoder.next()
    assert (paths(log), log.kept_bytes) == ([b"/1"], 10)
    log.decoder.feed(SECOND[10:])
    assert (paths(log), log.kept_bytes) == ([b"/1", b"/2"], 0)


def test_next_means_nothing_before_the_request_is_complete(read_requests):
    log = read_requests([FIRST[:-1]], wait=True)
    log.decoder.next()
    log.decoder.feed(FIRST[-1:])
    assert [(message.body, message.ended) for message in log.messages] == [(b"abc", True)]


def test_a_malformed_request_behind_a_good_one_is_refused_when_its_turn_comes(read_requests):
    log = read_requests([FIRST + b"GET /2 HTTP/1.1\r\nHost : a\r\n\r\n" + SECOND], wait=True)
    assert log.status is None
    log.decoder.next()
    assert (log.status, paths(log), log.kept_bytes) == (400, [b"/1"], 0)


def test_after_an_upgrade_bytes_are_no_requests_any_more(read_requests, cuttings):
    for pieces in cuttings(WEBSOCKET + SECOND):
        log = read_requests(pieces, wait=True)
        assert log.tunnelled == b""
        log.decoder.tunnel()
        log.decoder.feed(b"\x81\x00")
        assert log.tunnelled == SECOND + b"\x81\x00"
        assert paths(log) == [b"/ws"]


def test_an_upgrade_that_is_not_granted_leaves_requests_what_they_are(read_requests):
    log = read_requests([WEBSOCKET + SECOND], wait=True)
    log.decoder.next()
    assert (paths(log), log.tunnelled) == ([b"/ws", b"/2"], b"")


def test_after_stop_nothing_is_read_and_nothing_is_kept(read_requests):
    log = read_requests([FIRST + SECOND], wait=True)
    log.decoder.stop()
    log.decoder.next()
    log.decoder.feed(SECOND)
    assert (paths(log), log.kept_bytes, log.status) == ([b"/1"], 0, None)


def test_a_large_body_is_told_on_as_it_comes_and_not_kept(read_requests):
    log = read_requests([b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"])
    for _ in range(1_000):
        log.decoder.feed(b"x" * 1_000)
        assert log.kept_bytes == 0
    (message,) = log.complete
    assert len(message.pieces) > 1_000
    assert len(message.body) == 1_000_000


def test_a_large_chunk_is_told_on_as_it_comes_and_not_kept(read_requests):
    log = read_requests([b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\n"])
    for count in range(1, 1_001):
        log.decoder.feed(b"x" * 1_000)
        assert len(log.messages[0].body) == count * 1_000
    log.decoder.feed(b"\r\n0\r\n\r\n")
    assert log.complete[0].body == b"x" * 1_000_000


def test_a_thousand_requests_in_one_piece_are_told_one_by_one(read_requests):
    log = read_requests([(FIRST + SECOND) * 500])
    assert paths(log) == [b"/1", b"/2"] * 500


def test_what_one_request_was_allowed_another_is_still_refused(read_requests):
    """What is remembered of targets and hosts must not carry over what holds for one method or version only."""
    allowed = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 3
    assert len(read_requests([allowed]).complete) == 6
    for refused in (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n"):
        log = read_requests([allowed + refused])
        assert (len(log.complete), log.status) == (6, 400)


def test_dot_segments_are_resolved_each_time(read_requests):
    spelled = b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target for target in (b"/a/../b", b"/b", b"/a/%2e%2e/b"))
    assert paths(read_requests([spelled * 3])) == [b"/b"] * 9


def test_hostile_targets_and_hosts_fill_no_memory(read_requests):
    log = read_requests([b""])
    tracemalloc.start()
    try:
        for number in range(3_000):
            log.decoder.feed(
                b"GET /%d%b HTTP/1.1\r\nHost: h%d%b\r\n\r\n" % (number, b"x" * 9_000, number, b"y" * 9_000)
            )
            log.messages.clear()
        assert log.status is None
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
    log.decoder.feed(b"GET /late?q HTTP/1.1\r\nHost: late\r\n\r\n")
    assert (log.messages[0].head.target, log.messages[0].head.host) == (b"/late?q", "late")
