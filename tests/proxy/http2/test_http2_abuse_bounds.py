"""What a peer may do that moves no message: as much as honest ones do, and floods are told from it."""

from turnout.proxy.http2.abuse import BYTES_A_FRAME, CONTROL_BURST, EARNED, Abuse

FRAME_BYTES = 16_384
PIECE_BYTES = 262_144
"""As much as the loop reads at a time."""


def test_who_takes_a_large_body_may_answer_each_of_its_frames_with_windows() -> None:
    abuse = Abuse(0.0)
    for _ in range(1 << 10):
        abuse.control += EARNED + PIECE_BYTES // BYTES_A_FRAME
        assert all(abuse.on_control(0.0) for _ in range(2 * PIECE_BYTES // FRAME_BYTES))


def test_who_does_it_for_nothing_floods() -> None:
    abuse = Abuse(0.0)
    assert [abuse.on_control(0.0) for _ in range(int(CONTROL_BURST) + 1)] == [True] * int(CONTROL_BURST) + [False]
