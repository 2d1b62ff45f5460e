"""Which model a gRPC call of the Open Inference Protocol is for, from the first bytes of its first message.

All of these requests begin with `name = 1` and `version = 2`, both strings (kserve/open-inference-protocol
`open_inference_grpc.proto`, Triton's `grpc_service.proto`); the tensors come behind them. What is read is the wire
format: a prefix of 5 bytes (compressed?, length; gRPC over HTTP/2), then fields, each a tag and a value. Without I/O;
of what is skipped nothing is kept.

Rules:

1. Of a field that is repeated the last one counts (protobuf, "Last One Wins"). So the model is known for sure only at
   the end of the message, which has all the tensors in it. But senders write fields in the order of their numbers: the
   model is *known* when the name was there and a field above 2 begins, or the message ends. Where one above 2 came
   first, both name and version are waited for.
2. A sender may break that order, and so make a server see another model than was told. So reading goes on behind it,
   to the end of the message, and a name or version that says something else makes the message *contradicted*. Whoever
   acted on the first answer can then keep the rest from the server, to whom the message is not complete.
3. It is *unknowable* if the message is compressed (it is not decompressed here), malformed, has no name or one that
   could not be a header (`model.is_plain`), or if `MAX_READ_BYTES` were read in vain. Groups, which no sender makes any
   more, count as malformed; so does whatever one server must refuse, for another may not. Behind a model that is known
   that is a contradiction.
4. One call, one model: of a stream of messages (`ModelStreamInfer`) the first one says which.
"""

from enum import Enum, auto

from turnout.predictors.model import MAX_BYTES, Model, is_plain

MAX_READ_BYTES = 65_536
"""So much is read of a body before the model is given up."""

_SERVICE = b"/inference.GRPCInferenceService/"
_METHODS = (b"ModelInfer", b"ModelStreamInfer", b"ModelReady", b"ModelMetadata", b"ModelConfig", b"ModelStatistics")
_PATHS = frozenset(_SERVICE + method for method in _METHODS)

_PREFIX_BYTES = 5
_NAME, _VERSION = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TAG = 2**32 - 1
_MAX_TAG_BYTES, _MAX_VARINT_BYTES = 5, 10


class Reading(Enum):
    """How far a reader is."""

    MORE = auto()
    """It needs more bytes."""
    KNOWN = auto()
    CONTRADICTED = auto()
    """It was known, and the rest of the message says something else."""
    UNKNOWABLE = auto()


class _Expect(Enum):
    """What the next byte is of."""

    PREFIX = auto()
    TAG = auto()
    LENGTH = auto()
    VARINT = auto()
    TEXT = auto()
    SKIPPED = auto()
    NOTHING = auto()
    """All that matters was read."""


def names_model(path: bytes) -> bool:
    """Whether a gRPC call with this path has its model in its first message."""
    return path in _PATHS


class GrpcModelReader:
    """Fed with the bytes of a request's body, as they come; how they are cut makes no difference.

    `model` is set once it is KNOWN; `reason` says why it is not to be, or what contradicts it.
    """

    __slots__ = (
        "_expect", "_field", "_found", "_left", "_number", "_read", "_size", "_text", "_unordered", "model", "reading",
        "reason",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reading = Reading.MORE
        self.model: Model | None = None
        self.reason = ""
        self._expect = _Expect.PREFIX
        self._read = 0
        self._left = 0
        """Of the message, in bytes."""
        self._number = 0
        """The number that is being read, so far, and `_size`: of how many bytes; of a value, how many are to come."""
        self._size = 0
        self._field = 0
        self._text = b""
        self._found = {_NAME: b"", _VERSION: b""}
        self._unordered = False

    def __repr__(self) -> str:
        return f"<GrpcModelReader {self.reading.name.lower()} {self.model or self.reason}>"

    @property
    def is_done(self) -> bool:
        """Whether further bytes make no difference."""
        return self._expect is _Expect.NOTHING

    def feed(self, data: bytes | memoryview) -> Reading:
        """Read on; the answer is `reading`. Never raises."""
        if self.reading is Reading.MORE:
            most = MAX_READ_BYTES - self._read
            self._read += len(data)
            self._feed(data[:most])
            if self.reading is Reading.MORE and self._read >= MAX_READ_BYTES:
                self._give_up(f"no model in the first {MAX_READ_BYTES} bytes")
            data = data[most:]
        self._feed(data)
        return self.reading

    def end(self) -> Reading:
        """There are no more bytes."""
        if self.reading is Reading.MORE:
            self._give_up("the message is not complete")
        return self.reading

    def _feed(self, data: bytes | memoryview) -> None:
        at, size = 0, len(data)
        while at < size and not self.is_done:
            if self._expect is _Expect.PREFIX:
                at = self._take_prefix(data, at)
                continue
            # A field ends with its message at the latest.
            stop = min(size, at + self._left)
            end = self._take_short_fields(data, at, stop) if self._expect is _Expect.TAG and not self._size else at
            if end < stop and not self.is_done:
                end = self._take(data, end, stop, self._left - (end - at))
            self._left -= end - at
            at = end
            if not self._left:
                self._end_message()

    def _take_prefix(self, data: bytes | memoryview, at: int) -> int:
        if not self._size and data[at]:
            self._give_up("the message is compressed" if data[at] == 1 else "not a gRPC message")
            return at
        piece = bytes(data[at : at + _PREFIX_BYTES - self._size])
        self._number = self._number << 8 * len(piece) | int.from_bytes(piece)
        self._size += len(piece)
        if self._size == _PREFIX_BYTES:
            self._left = self._number
            self._begin(_Expect.TAG)
            if not self._left:
                self._end_message()
        return at + len(piece)

    def _take_short_fields(self, data: bytes | memoryview, at: int, stop: int) -> int:
        """Fields of bytes that are all at hand, with a tag and a length of one byte each, as most are: many at once."""
        while stop - at >= 2:
            tag, length = data[at], data[at + 1]
            end = at + 2 + length
            if tag & 0x87 != _BYTES or tag < 8 or length > 0x7F or end > stop:
                break
            self._field = field = tag >> 3
            if field > _VERSION:
                if self.reading is Reading.MORE:
                    self._meet_other_field()
            else:
                self._end_text(bytes(data[at + 2 : end]))
            if self._expect is _Expect.NOTHING:
                break
            at = end
        return at

    def _take(self, data: bytes | memoryview, at: int, stop: int, left: int) -> int:
        """Some bytes of any field, up to `stop`; where the next ones are. `left` are those of the message."""
        expect = self._expect
        if expect is _Expect.SKIPPED or expect is _Expect.TEXT:
            end = min(stop, at + self._size)
            self._size -= end - at
            if expect is _Expect.TEXT:
                self._text += bytes(data[at:end])
            if not self._size:
                self._end_value()
            return end
        byte = data[at]
        self._number |= (byte & 0x7F) << (7 * self._size)
        self._size += 1
        if byte < 0x80:
            self._end_number(expect, self._number, left - 1)
        elif self._size >= (_MAX_TAG_BYTES if expect is _Expect.TAG else _MAX_VARINT_BYTES):
            self._give_up("a number is too long")
        return at + 1

    def _end_number(self, expect: _Expect, number: int, left: int) -> None:
        """A number is whole; `left` bytes of the message are behind it."""
        if expect is _Expect.TAG:
            self._begin_field(number, left)
        elif expect is _Expect.LENGTH:
            self._begin_value(number, left)
        else:
            self._begin(_Expect.TAG)

    def _begin_field(self, tag: int, left: int) -> None:
        self._field, kind = tag >> 3, tag & 7
        if not self._field or tag > _MAX_TAG:
            self._give_up("a field has no valid number")
            return
        if self._field > _VERSION and self.reading is Reading.MORE:
            self._meet_other_field()
            if self._expect is _Expect.NOTHING:
                return
        if kind == _BYTES:
            self._begin(_Expect.LENGTH)
        elif kind == _VARINT:
            self._begin(_Expect.VARINT)
        elif kind in (_FIXED32, _FIXED64):
            self._field = 0  # nothing that is looked at, whatever its number
            self._begin_value(4 if kind == _FIXED32 else 8, left)
        else:
            self._give_up("a field is of no known type")

    def _meet_other_field(self) -> None:
        if self._found[_NAME] and (self._found[_VERSION] or not self._unordered):
            self._decide()
        else:
            self._unordered = True

    def _begin_value(self, size: int, left: int) -> None:
        is_text = self._field in self._found
        if size > left:
            self._give_up("a field is longer than its message")
        elif is_text and size > MAX_BYTES:
            self._give_up("the model's name or version is too long")
        else:
            self._begin(_Expect.TEXT if is_text else _Expect.SKIPPED, size)
            if not size:
                self._end_value()

    def _end_value(self) -> None:
        is_text = self._expect is _Expect.TEXT
        self._begin(_Expect.TAG)
        if is_text:
            text, self._text = self._text, b""
            self._end_text(text)

    def _end_text(self, text: bytes) -> None:
        if self.model is None:
            self._found[self._field] = text
        elif text != (self.model.name if self._field == _NAME else self.model.version):
            self._give_up("the message names two models")

    def _end_message(self) -> None:
        if self._expect is _Expect.NOTHING:
            return
        if self._expect is not _Expect.TAG or self._size:
            self._give_up("a field is longer than its message")
            return
        if self.reading is Reading.MORE:
            self._decide()
        self._expect = _Expect.NOTHING

    def _begin(self, expect: _Expect, size: int = 0) -> None:
        self._expect = expect
        self._number = 0
        self._size = size

    def _decide(self) -> None:
        name, version = self._found[_NAME], self._found[_VERSION]
        if is_plain(name, version):
            self.model = Model(name, version)
            self.reading = Reading.KNOWN
        else:
            self._give_up("the model's name or version is not plain text" if name else "the message names no model")

    def _give_up(self, reason: str) -> None:
        self.reading = Reading.UNKNOWABLE if self.model is None else Reading.CONTRADICTED
        self.reason = reason
        self._expect = _Expect.NOTHING
        self._text = b""
