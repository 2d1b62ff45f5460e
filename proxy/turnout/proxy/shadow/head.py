"""The head of a copy: what the request's own has become by its route, and that it is a copy.

Host and request id are the request's. (Envoy appends `-shadow` to the host unless it is told
`disable_shadow_host_suffix_append`, and servers that look at it refuse what they were to be tried with: envoy#9326.)
"""

from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

SHADOW = b"x-turnout-shadow"
_FIELD = b"\r\n%b: true" % SHADOW
_STEERING = int(Mark.STEERING)


def make_shadow_head(head: RequestHead) -> RequestHead:
    """A copy's head. Its trailers come with the end of the body."""
    copied = head.copy()
    copied.add_block(_FIELD)
    return copied


def is_shadow(head: RequestHead) -> bool:
    """Whether a request is a copy already, as a trusted peer says; what others say was dropped before."""
    return bool(head.marks & _STEERING) and head.get(SHADOW) == b"true"
