"""What a NACK says: `error_detail`, a `google.rpc.Status` with INVALID_ARGUMENT."""

from typing import Any

INVALID_ARGUMENT = 3
MAX_CHARACTERS = 4096


def reject(answer: Any, reason: str) -> None:
    """Make a NACK of an ACK of either variant; a reason that is too long is cut."""
    answer.error_detail.code = INVALID_ARGUMENT
    answer.error_detail.message = reason[:MAX_CHARACTERS]
