"""What the heads of requests and of responses have in common when they are read.

llhttp judges a whole head, then the marked fields are taken out and the plain ones stay a block of bytes. llhttp gets
no callbacks: a call from C into Python for each field costs more than all the rest. Every head gets a parser of its
own, so no state is carried from message to message.
"""

from collections.abc import Callable
from typing import Final

import httptools

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.names import Names

COPIED_BYTES: Final = 16_384
"""Below this a piece of a body is copied, joined and written with its head; above, the copies cost more than a call."""

MakeParser = Callable[[object], httptools.HttpRequestParser | httptools.HttpResponseParser]


def split_head(head: bytes, make_parser: MakeParser, names: Names) -> tuple[bytes, list[bytes], bytes]:
    """Judge a head, its empty line included, and take it apart. Raises MalformedError.

    Given are its first line; what `Names.split` gives, in which a marked field's name and value stand at 1 and 2, 4
    and 5 …; and the plain fields as a block.
    """
    try:
        make_parser(None).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise MalformedError(str(error)) from error
    line_end = head.find(b"\r\n")
    parts = names.split(head[line_end:-4])
    return head[:line_end], parts, b"".join(parts[::3])
