"""Bounds on what costs us more than it costs a peer: rapid resets (CVE-2023-44487), and floods of SETTINGS, PING,
WINDOW_UPDATE, PRIORITY_UPDATE and empty DATA frames.

Two allowances that fill up with time. Frames that move no message are part of an honest exchange, about as many as
there are messages and pieces of them, so each of these earns some (Envoy does likewise:
`max_inbound_window_update_frames_per_data_frame_sent`). libnghttp2 bounds the rest: CONTINUATION frames
(CVE-2024-27316), unanswered acknowledgements, PRIORITY frames, and what else it calls a glitch.
"""

CONTROL_BURST, CONTROL_RATE = 2_000.0, 100.0
"""Frames without a message: so many at once, and so many a second."""
EARNED = 10.0
"""What a message, or a piece of one, adds to that, up to the burst."""
BYTES_A_FRAME = 1_600
"""So many bytes of a body that we send earn one more: who takes it may answer each DATA frame of 16 KiB by ten."""
RESET_BURST, RESET_RATE = 1_000.0, 50.0
"""Streams that the peer may reset, likewise. Clients that give up all their requests at once are no attack."""


class Abuse:
    """What one peer may still do. A message, or a piece of one, that went by adds EARNED to `control`."""

    __slots__ = ("_at", "_resets", "control")

    def __init__(self, now: float) -> None:
        self._at = now
        self.control = CONTROL_BURST
        self._resets = RESET_BURST

    def on_control(self, now: float) -> bool:
        """A frame that moves nothing came; whether it is within bounds."""
        self._fill(now)
        self.control -= 1
        return self.control >= 0

    def on_reset(self, now: float) -> bool:
        """The peer reset a stream; whether it is within bounds."""
        self._fill(now)
        self._resets -= 1
        return self._resets >= 0

    def _fill(self, now: float) -> None:
        passed, self._at = now - self._at, now
        self.control = min(CONTROL_BURST, self.control + passed * CONTROL_RATE)
        self._resets = min(RESET_BURST, self._resets + passed * RESET_RATE)
