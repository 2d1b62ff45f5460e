"""Failed handshakes: what is told, and how often; and whose they are."""

import ssl

import pytest

from turnout.proxy.net.tls.failures import WrongNameError, describe_failure, is_rejection
from turnout.proxy.net.tls.reports import MAX_PLACES, Report, TlsReports
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import HEADER_WORDS, Word
from turnout.proxy.telemetry.tls import SIDES, TlsFailure, failure_offset


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[Report] = []
        self.words = memoryview(bytearray(8 * HEADER_WORDS)).cast("Q")
        self.reports = TlsReports(Counters(self.words), lambda: self.now, self.told.append)

    def fail(self, place: str = "l", failure: TlsFailure = TlsFailure.EXPIRED) -> None:
        self.reports.on_failure("downstream", place, "192.0.2.1", failure, "text")

    def count(self, failure: TlsFailure) -> int:
        return self.words[Word.TLS_FAILURES + failure_offset("downstream", failure)]


def test_all_are_counted_and_one_a_second_is_told_with_how_many_were_not() -> None:
    world = World()
    for _ in range(5):
        world.fail()
    world.now += 1
    world.fail()
    assert [report.others for report in world.told] == [0, 4]
    assert world.count(TlsFailure.EXPIRED) == 6


def test_other_places_and_reasons_have_lines_of_their_own() -> None:
    world = World()
    world.fail()
    world.fail("m")
    world.fail(failure=TlsFailure.UNKNOWN_CA)
    assert len(world.told) == 3


def test_a_client_that_goes_away_is_counted_and_not_told() -> None:
    world = World()
    world.fail(failure=TlsFailure.CLOSED)
    assert (world.told, world.count(TlsFailure.CLOSED)) == ([], 1)


def test_what_is_remembered_is_bounded() -> None:
    world = World()
    for number in range(MAX_PLACES * 3):
        world.fail(str(number))
    assert len(world.reports._told) <= MAX_PLACES


def test_each_side_and_reason_has_a_word_of_its_own() -> None:
    offsets = [failure_offset(side, failure) for side in SIDES for failure in TlsFailure]
    assert len(set(offsets)) == len(offsets)


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()}")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "failure", "text"),
    [
        (ssl_error("PEER_DID_NOT_RETURN_A_CERTIFICATE"), TlsFailure.NO_CERTIFICATE, "no certificate"),
        (ssl_error("HTTP_REQUEST"), TlsFailure.NOT_TLS, "plain HTTP"),
        (ssl_error("TLSV1_ALERT_UNKNOWN_CA"), TlsFailure.REJECTED, "unknown ca"),
        (ssl_error("NO_SHARED_CIPHER"), TlsFailure.UNSUPPORTED, "cipher"),
        (ssl_error("BAD_LUCK"), TlsFailure.OTHER, "bad luck"),
        (WrongNameError("it is that of x"), TlsFailure.WRONG_NAME, "it is that of x"),
        (ConnectionResetError(), TlsFailure.CLOSED, "closed"),
        (ConnectionAbortedError(), TlsFailure.TIMEOUT, "too long"),
        (None, TlsFailure.CLOSED, "closed"),
    ],
)
def test_an_error_is_a_reason_and_a_text(error: Exception | None, failure: TlsFailure, text: str) -> None:
    found, said = describe_failure(error)
    assert found is failure
    assert text in said


def test_only_an_alert_is_a_rejection() -> None:
    assert is_rejection(ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert not is_rejection(ssl_error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"))
    assert not is_rejection(ConnectionResetError())
