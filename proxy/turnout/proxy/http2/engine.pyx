# cython: language_level=3, boundscheck=False, wraparound=False
"""libnghttp2, as `session` drives it: what `engine.py` has of ngh2, on the same library without ngh2's own layer.

`make compiled` builds it, and links it against the library within ngh2. It differs where the layer costs:

* A field that is the same as that in its place in the head before is the same object, and a head whose fields all are is
  the same tuple. Most heads of a connection are like the last one: they make no objects, and compare by identity. Large
  heads are not kept for that.
* Frames are joined in a buffer on the stack, and a body's piece is made once.
* What nobody asks for is not told: frames of control are one event without content.

An exception never crosses the library: it is kept, the library is stopped, and it is raised behind the call.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

cimport nghttp2 as c

from collections import deque
from os import urandom

from ngh2 import (
    ConnectionClosed,
    ConnectionStateError,
    DenialOfServiceError,
    GoAwayReceived,
    InternalError,
    NeverIndexedHeader,
    NGH2Error,
    PingAcknowledged,
    Setting,
    SettingsReceived,
    StreamReset,
    StreamUnavailableError,
)

__all__ = [
    "ConnectionClosed", "DataReceived", "DenialOfServiceError", "GoAwayReceived", "InformationalResponseReceived",
    "NGH2Error", "NeverIndexedHeader", "PingAcknowledged", "RequestReceived", "ResponseReceived", "Setting",
    "SettingsReceived", "StreamClosed", "StreamReset", "TrailersReceived", "connect",
]

RESETS = 100_000
cdef enum:
    MAX_FIELDS = 1_024  # of one message
    FIELD_OVERHEAD = 32  # RFC 9113 §6.5.2
    MAX_KEPT_BYTES = 8_192  # of a head that the next is compared with: an idle connection holds no more than this
    FRAME_BYTES = 16_394  # what the library gives at a time, at most
    OUTPUT_BYTES = 49_152 + FRAME_BYTES
    STACK_FIELDS = 48

cdef bytes NOTHING = b""
cdef bytes STATUS = b":status"
cdef object never_indexed = NeverIndexedHeader


# Events


@cython.no_gc
cdef class _Head:
    """Fields that came on a stream."""

    cdef readonly int32_t stream_id
    cdef readonly tuple headers
    cdef readonly bint end_stream

    def __repr__(self):
        return f"{type(self).__name__}({self.stream_id}, {self.headers}, {self.end_stream})"


@cython.final
@cython.no_gc
cdef class RequestReceived(_Head):
    pass


@cython.final
@cython.no_gc
cdef class ResponseReceived(_Head):
    pass


@cython.final
@cython.no_gc
cdef class InformationalResponseReceived(_Head):
    pass


@cython.final
@cython.no_gc
cdef class TrailersReceived(_Head):
    pass


@cython.final
@cython.freelist(64)
cdef class DataReceived:
    """A DATA frame, whole."""

    cdef readonly int32_t stream_id
    cdef readonly bytes data
    cdef readonly bint end_stream

    def __repr__(self):
        return f"DataReceived({self.stream_id}, {self.data!r}, {self.end_stream})"


@cython.final
@cython.freelist(64)
cdef class StreamClosed:
    cdef readonly int32_t stream_id
    cdef readonly uint32_t error_code

    def __repr__(self):
        return f"StreamClosed({self.stream_id}, {self.error_code})"


cdef class ControlReceived:
    """A frame of control, of which nothing but that it came is of interest."""


cdef object control_received = ControlReceived()


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Body:
    """What is to be sent on a stream behind the head."""

    cdef bytes chunk
    """The piece that is being sent; the others wait in `rest`."""
    cdef object rest
    cdef Py_ssize_t offset
    cdef Py_ssize_t queued
    cdef bint ended
    cdef bint deferred
    cdef object trailers


# The connection


cdef class Connection:
    """One connection's protocol. All methods but `receive_data`, `events` and `data_to_send` only queue what they say.

    Sending raises NGH2Error where the stream or the connection is over.
    """

    cdef c.Session *session
    cdef bint closing
    cdef bint closed
    cdef bint terminating
    cdef uint32_t close_code
    cdef object error
    cdef list told
    cdef dict bodies
    cdef Py_ssize_t queued
    cdef size_t max_fields_bytes
    # The head that is coming: it is the first `at` fields of `known` as long as `fields` is None.
    cdef tuple known
    cdef list fields
    cdef Py_ssize_t at
    cdef size_t fields_bytes
    cdef int32_t head_stream_id
    # The last ones on this connection
    cdef tuple last_head
    cdef tuple last_trailers
    # The DATA frame that is coming
    cdef bytes piece
    cdef list pieces
    cdef Py_ssize_t pieces_bytes
    cdef int32_t piece_stream_id

    def __cinit__(self, *, bint server, uint32_t max_streams, size_t max_fields_bytes):
        cdef c.Callbacks *callbacks = NULL
        cdef c.Option *option = NULL
        cdef int result
        self.max_fields_bytes = max_fields_bytes
        self.told = []
        self.bodies = {}
        self.known = self.last_head = self.last_trailers = ()
        try:
            if c.nghttp2_session_callbacks_new(&callbacks) or c.nghttp2_option_new(&option):
                raise MemoryError()
            _set_callbacks(callbacks)
            _set_options(option, max_streams)
            if server:
                result = c.nghttp2_session_server_new2(&self.session, callbacks, <void *>self, option)
            else:
                result = c.nghttp2_session_client_new2(&self.session, callbacks, <void *>self, option)
            if result:
                raise MemoryError()
        finally:
            c.nghttp2_option_del(option)
            c.nghttp2_session_callbacks_del(callbacks)

    def __dealloc__(self):
        if self.session != NULL:
            c.nghttp2_session_del(self.session)

    def initiate(self, settings, int32_t window_bytes):
        """Send the preface and SETTINGS; receive as much as this before it is acknowledged."""
        cdef c.SettingsEntry entries[16]
        cdef size_t count = 0
        for identifier, value in settings.items():
            if count == 16:
                raise ValueError("more settings than there are")
            entries[count].settings_id = identifier
            entries[count].value = value
            count += 1
        self.check(c.nghttp2_submit_settings(self.session, 0, entries, count))
        self.check(c.nghttp2_session_set_local_window_size(self.session, 0, 0, window_bytes))

    # Bytes

    def receive_data(self, data):
        """Have bytes read; what they say is in `events`."""
        cdef bytes received = data if type(data) is bytes else bytes(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(received), result
        self.require_session()
        self.error = None
        result = c.nghttp2_session_mem_recv2(self.session, <const uint8_t *>PyBytes_AS_STRING(received), size)
        if result < 0:
            self.fail(<int>result)
        if result != size:
            self.end()
            raise InternalError("not all was read")
        if self.closing:
            self.look_for_end()

    def events(self):
        """What has happened since the last call, in order."""
        told = self.told
        if told:
            self.told = []
        return told

    def data_to_send(self, Py_ssize_t amount):
        """What is to be written: no more than `amount` and a frame."""
        cdef uint8_t output[OUTPUT_BYTES]
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t size = 0, result
        cdef list before = None
        self.require_session()
        self.error = None
        if amount > OUTPUT_BYTES - FRAME_BYTES:
            amount = OUTPUT_BYTES - FRAME_BYTES
        while size < amount:
            result = c.nghttp2_session_mem_send2(self.session, &data)
            if result <= 0:
                if result < 0:
                    self.fail(<int>result)
                break
            if result > OUTPUT_BYTES - size:
                before = [] if before is None else before
                before.append(PyBytes_FromStringAndSize(<const char *>output, size))
                before.append(PyBytes_FromStringAndSize(<const char *>data, result))
                size = 0
                break
            memcpy(output + size, data, result)
            size += result
        if self.closing:
            self.look_for_end()
        if before is not None:
            return b"".join(before)
        return PyBytes_FromStringAndSize(<const char *>output, size) if size else NOTHING

    @property
    def want_write(self):
        """Whether `data_to_send` has something."""
        return self.session != NULL and c.nghttp2_session_want_write(self.session) != 0

    # Messages

    def send_request(self, list headers, *, bint end_stream=False):
        """Open a stream; its id."""
        cdef c.DataProvider provider
        cdef c.NV on_stack[STACK_FIELDS]
        cdef c.NV *fields
        cdef int32_t stream_id
        cdef Body body
        self.require_active()
        if not c.nghttp2_session_check_request_allowed(self.session):
            raise ConnectionStateError("no more requests")
        body = _begin_body(&provider, end_stream)
        fields = _lay_out(headers, on_stack)
        stream_id = c.nghttp2_submit_request2(
            self.session, NULL, fields, len(headers), NULL if end_stream else &provider, NULL
        )
        if fields != on_stack:
            PyMem_Free(fields)
        self.check(stream_id)
        self.bodies[stream_id] = body
        return stream_id

    def send_response(self, int32_t stream_id, list headers, *, bint end_stream=False):
        """Answer a stream, once."""
        cdef c.DataProvider provider
        cdef c.NV on_stack[STACK_FIELDS]
        cdef c.NV *fields
        cdef int result
        cdef Body body
        self.require_unanswered(stream_id)
        body = _begin_body(&provider, end_stream)
        fields = _lay_out(headers, on_stack)
        result = c.nghttp2_submit_response2(
            self.session, stream_id, fields, len(headers), NULL if end_stream else &provider
        )
        if fields != on_stack:
            PyMem_Free(fields)
        self.check(result)
        self.bodies[stream_id] = body

    def send_informational_response(self, int32_t stream_id, list headers):
        """A head of 1xx, before the answer's."""
        cdef c.NV on_stack[STACK_FIELDS]
        cdef c.NV *fields
        cdef int32_t result
        self.require_unanswered(stream_id)
        fields = _lay_out(headers, on_stack)
        result = c.nghttp2_submit_headers(self.session, 0, stream_id, NULL, fields, len(headers), NULL)
        if fields != on_stack:
            PyMem_Free(fields)
        self.check(result)

    def send_data(self, int32_t stream_id, data, *, bint end_stream=False):
        """More of the body; with `end_stream` the last."""
        cdef Body body = self.find_open(stream_id)
        cdef bytes chunk = data if type(data) is bytes else bytes(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(chunk)
        if size:
            if body.chunk is None:
                body.chunk = chunk
            else:
                if body.rest is None:
                    body.rest = deque()
                body.rest.append(chunk)
            body.queued += size
            self.queued += size
        body.ended = end_stream
        if body.deferred and (size or end_stream):
            self.resume(stream_id, body)

    def send_trailers(self, int32_t stream_id, list headers):
        """End the body with these."""
        cdef Body body = self.find_open(stream_id)
        body.trailers = headers
        body.ended = True
        if body.deferred:
            self.resume(stream_id, body)

    def reset_stream(self, int32_t stream_id, uint32_t error_code):
        self.require_active()
        self.check(c.nghttp2_submit_rst_stream(self.session, 0, stream_id, error_code))

    def acknowledge_received_data(self, Py_ssize_t amount, int32_t stream_id):
        """So many bytes of DATA were used, also of a stream that is over."""
        self.require_active()
        if amount > 0:
            self.check(c.nghttp2_session_consume(self.session, stream_id, amount))

    def queued_body_size(self, stream_id=None):
        """Bytes of a stream's body, or of all, that no frame has yet."""
        cdef Body body
        if stream_id is None:
            return self.queued
        body = self.bodies.get(stream_id)
        return 0 if body is None else body.queued

    # The connection

    @property
    def can_send_request(self):
        return (
            self.session != NULL
            and not self.terminating
            and c.nghttp2_session_check_request_allowed(self.session) != 0
        )

    @property
    def remote_settings(self):
        """Of the peer, those that are asked for."""
        self.require_active()
        return {
            key: c.nghttp2_session_get_remote_settings(self.session, key)
            for key in (Setting.MAX_CONCURRENT_STREAMS, Setting.ENABLE_CONNECT_PROTOCOL)
        }

    def ping(self):
        self.require_active()
        self.check(c.nghttp2_submit_ping(self.session, 0, NULL))

    def send_shutdown_notice(self):
        """The first of two GOAWAYs (RFC 9113 §6.8)."""
        self.require_active()
        self.check(c.nghttp2_submit_shutdown_notice(self.session))

    def send_goaway(self, uint32_t error_code):
        self.require_active()
        self.check(
            c.nghttp2_submit_goaway(
                self.session, 0, c.nghttp2_session_get_last_proc_stream_id(self.session), error_code, NULL, 0
            )
        )

    def terminate_connection(self, uint32_t error_code):
        """GOAWAY, and nothing behind it."""
        self.require_active()
        self.check(c.nghttp2_session_terminate_session(self.session, error_code))
        self.terminating = self.closing = True
        self.drop_bodies()

    # What the above share

    cdef Body find_open(self, int32_t stream_id):
        cdef Body body
        self.require_active()
        body = self.bodies.get(stream_id)
        if body is None or body.ended:
            raise StreamUnavailableError("it has no body that is open")
        return body

    cdef int resume(self, int32_t stream_id, Body body) except -1:
        self.check(c.nghttp2_session_resume_data(self.session, stream_id))
        body.deferred = False
        return 0

    cdef int require_session(self) except -1:
        if self.session == NULL:
            raise ConnectionStateError("it has failed")
        return 0

    cdef int require_active(self) except -1:
        if self.session == NULL or self.terminating:
            raise ConnectionStateError("it is over")
        return 0

    cdef int require_unanswered(self, int32_t stream_id) except -1:
        self.require_active()
        if c.nghttp2_session_get_stream_local_close(self.session, stream_id) < 0:
            raise StreamUnavailableError("there is no such stream")
        if stream_id in self.bodies:
            raise StreamUnavailableError("it is answered")
        return 0

    cdef int check(self, int result) except -1:
        if result < 0:
            self.fail(result)
        return 0

    cdef int fail(self, int code) except -1:
        """Raise what the library, or a callback, has failed with."""
        error = _find_error(code) if self.error is None else self.error
        self.error = None
        if c.nghttp2_is_fatal(code):
            self.end()
        raise error

    cdef void end(self):
        """It has failed for good; all that it held goes."""
        c.nghttp2_session_del(self.session)
        self.session = NULL
        self.drop_bodies()

    cdef void drop_bodies(self):
        """What was to be sent and won't be."""
        self.bodies.clear()
        self.queued = 0

    cdef void look_for_end(self):
        """Tell when a connection that is being closed has nothing more to read or to write."""
        if self.closed or c.nghttp2_session_want_read(self.session) or c.nghttp2_session_want_write(self.session):
            return
        self.closed = self.terminating = True
        self.drop_bodies()
        self.told.append(ConnectionClosed(self.close_code, b""))

    # From the library

    cdef int add_field(
        self, const uint8_t *name, size_t name_size, const uint8_t *value, size_t value_size, bint secret
    ) except -1:
        cdef tuple known = self.known
        cdef object field
        cdef Py_ssize_t at = self.at
        self.fields_bytes += name_size + value_size + FIELD_OVERHEAD
        if self.fields_bytes > self.max_fields_bytes:
            raise DenialOfServiceError("fields beyond what is read")
        if at >= MAX_FIELDS:
            raise DenialOfServiceError("more fields than are read")
        self.at = at + 1
        if at < len(known):
            field = known[at]
            if (
                _equals(<bytes>(<tuple>field)[0], name, name_size)
                and _equals(<bytes>(<tuple>field)[1], value, value_size)
                and secret == (type(field) is not tuple)
            ):
                if self.fields is not None:
                    self.fields.append(field)
                return 0
        if self.fields is None:
            self.fields = list(known[:at])
        field = (
            PyBytes_FromStringAndSize(<const char *>name, name_size),
            PyBytes_FromStringAndSize(<const char *>value, value_size),
        )
        self.fields.append(never_indexed(*field) if secret else field)
        return 0

    cdef int add_head(self, int32_t stream_id, int category, bint end) except -1:
        cdef tuple fields
        cdef _Head event
        if self.fields is not None:
            fields = tuple(self.fields)
        elif self.at == len(self.known):
            fields = self.known
        else:
            fields = self.known[:self.at]
        self.drop_head()
        if category == c.HCAT_REQUEST:
            event = RequestReceived.__new__(RequestReceived)
            self.last_head = self.keep(fields)
        elif not fields or (<tuple>fields[0])[0] != STATUS:
            event = TrailersReceived.__new__(TrailersReceived)
            self.last_trailers = self.keep(fields)
        elif (<bytes>(<tuple>fields[0])[1])[:1] == b"1":
            event = InformationalResponseReceived.__new__(InformationalResponseReceived)
        else:
            event = ResponseReceived.__new__(ResponseReceived)
            self.last_head = self.keep(fields)
        event.stream_id = stream_id
        event.headers = fields
        event.end_stream = end
        self.told.append(event)
        return 0

    cdef tuple keep(self, tuple fields):
        """What the next head is compared with."""
        return fields if self.fields_bytes <= MAX_KEPT_BYTES else ()

    cdef int drop_head(self) except -1:
        """It was told of, or never will be, since its stream is over."""
        self.known = ()
        self.fields = None
        self.at = 0
        self.head_stream_id = 0
        return 0

    cdef int add_piece(self, int32_t stream_id, const uint8_t *data, size_t size) except -1:
        """Some of a DATA frame."""
        cdef bytes piece = PyBytes_FromStringAndSize(<const char *>data, size)
        if self.piece is None:
            self.piece = piece
            self.piece_stream_id = stream_id
        else:
            if self.pieces is None:
                self.pieces = [self.piece]
            self.pieces.append(piece)
        self.pieces_bytes += size
        return 0

    cdef int add_data(self, int32_t stream_id, bint end) except -1:
        cdef DataReceived event = DataReceived.__new__(DataReceived)
        event.stream_id = stream_id
        event.data = NOTHING if self.piece is None else self.piece if self.pieces is None else b"".join(self.pieces)
        event.end_stream = end
        self.piece = self.pieces = None
        self.pieces_bytes = 0
        self.told.append(event)
        return 0

    cdef int drop_pieces(self) except -1:
        """The stream of a DATA frame has ended within it: what came of it is nobody's."""
        cdef Py_ssize_t size = self.pieces_bytes
        self.piece = self.pieces = None
        self.pieces_bytes = 0
        if c.nghttp2_session_consume_connection(self.session, size):
            raise MemoryError()
        return 0


def connect(*, bint server, settings, int32_t window_bytes, uint32_t max_streams, size_t max_fields_bytes):
    """See `engine.py`."""
    connection = Connection(server=server, max_streams=max_streams, max_fields_bytes=max_fields_bytes)
    connection.initiate(settings, window_bytes)
    return connection


cdef object _find_error(int code):
    if code == c.ERR_NOMEM:
        return MemoryError()
    text = (<bytes>c.nghttp2_strerror(code)).decode()
    if code in (c.ERR_FLOODED, c.ERR_TOO_MANY_CONTINUATIONS):
        return DenialOfServiceError(text)
    return InternalError(text)


cdef inline Body _begin_body(c.DataProvider *provider, bint ended):
    """The body of a message that begins."""
    cdef Body body = Body.__new__(Body)
    body.ended = ended
    provider.source.ptr = NULL  # it is found by its stream, so it can't be gone before the library knows
    provider.read_callback = _read_body
    return body


cdef inline bint _equals(bytes known, const uint8_t *data, size_t size) noexcept:
    return <size_t>PyBytes_GET_SIZE(known) == size and not memcmp(PyBytes_AS_STRING(known), data, size)


cdef c.NV *_lay_out(list headers, c.NV *on_stack) except NULL:
    """The fields for the library, which copies them: in the place that is there, or in one that the caller frees."""
    cdef Py_ssize_t count = len(headers), index
    cdef c.NV *fields = on_stack
    cdef object field, name, value
    if count > STACK_FIELDS:
        fields = <c.NV *>PyMem_Malloc(count * sizeof(c.NV))
        if fields == NULL:
            raise MemoryError()
    try:
        for index in range(count):
            field = headers[index]
            if not isinstance(field, tuple) or len(<tuple>field) != 2:
                raise TypeError("a field is a pair")
            name, value = (<tuple>field)[0], (<tuple>field)[1]
            if type(name) is not bytes or type(value) is not bytes:
                raise TypeError("a field's name and value are bytes")
            fields[index].name = <uint8_t *>PyBytes_AS_STRING(name)
            fields[index].namelen = PyBytes_GET_SIZE(name)
            fields[index].value = <uint8_t *>PyBytes_AS_STRING(value)
            fields[index].valuelen = PyBytes_GET_SIZE(value)
            fields[index].flags = 0 if type(field) is tuple else c.NV_FLAG_NO_INDEX
    except BaseException:
        if fields != on_stack:
            PyMem_Free(fields)
        raise
    return fields


# Callbacks: 0, or a number of the library's that says what it is to do.


cdef int _stop(Connection connection, object error) noexcept:
    connection.error = error
    return c.ERR_CALLBACK_FAILURE


cdef int _on_begin_headers(c.Session *session, const c.Frame *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    connection.known = connection.last_trailers if frame.headers.cat == c.HCAT_HEADERS else connection.last_head
    connection.fields = None
    connection.at = 0
    connection.fields_bytes = 0
    connection.head_stream_id = frame.hd.stream_id
    return 0


cdef int _on_field(
    c.Session *session, const c.Frame *frame, const uint8_t *name, size_t name_size, const uint8_t *value,
    size_t value_size, uint8_t flags, void *user,
) noexcept:
    cdef Connection connection = <Connection>user
    try:
        return connection.add_field(name, name_size, value, value_size, flags & c.NV_FLAG_NO_INDEX)
    except BaseException as error:
        return _stop(connection, error)


cdef int _on_invalid_field(
    c.Session *session, const c.Frame *frame, const uint8_t *name, size_t name_size, const uint8_t *value,
    size_t value_size, uint8_t flags, void *user,
) noexcept:
    return c.ERR_TEMPORAL_CALLBACK_FAILURE  # the stream is refused; else the field would be dropped in silence


cdef int _on_data(
    c.Session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size, void *user
) noexcept:
    cdef Connection connection = <Connection>user
    try:
        if connection.piece is not None and connection.piece_stream_id != stream_id:
            connection.drop_pieces()
        return connection.add_piece(stream_id, data, size)
    except BaseException as error:
        return _stop(connection, error)


cdef int _on_frame(c.Session *session, const c.Frame *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef uint8_t kind = frame.hd.type
    cdef bint end = frame.hd.flags & c.FLAG_END_STREAM
    try:
        if kind == c.DATA:
            if connection.piece is not None and connection.piece_stream_id != frame.hd.stream_id:
                connection.drop_pieces()
            connection.add_data(frame.hd.stream_id, end)
        elif kind == c.HEADERS:
            connection.add_head(frame.hd.stream_id, frame.headers.cat, end)
        elif kind == c.RST_STREAM:
            connection.told.append(StreamReset(frame.hd.stream_id, frame.rst_stream.error_code))
        elif kind == c.GOAWAY:
            connection.closing = True
            connection.close_code = frame.goaway.error_code
            connection.told.append(GoAwayReceived(frame.goaway.last_stream_id, frame.goaway.error_code, b""))
        elif kind == c.SETTINGS and not frame.hd.flags & c.FLAG_ACK:
            connection.told.append(SettingsReceived({}))
        elif kind == c.PING and frame.hd.flags & c.FLAG_ACK:
            connection.told.append(PingAcknowledged(bytes(8)))
        elif kind in (c.SETTINGS, c.PING, c.WINDOW_UPDATE, c.ALTSVC, c.ORIGIN, c.PRIORITY_UPDATE):
            connection.told.append(control_received)
        return 0
    except BaseException as error:
        return _stop(connection, error)


cdef int _on_frame_sent(c.Session *session, const c.Frame *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    if frame.hd.type == c.GOAWAY:
        connection.closing = True
        connection.close_code = frame.goaway.error_code
    return 0


cdef int _on_frame_not_sent(c.Session *session, const c.Frame *frame, int code, void *user) noexcept:
    """A head that the library can't send, which is too large for it: the stream would wait for ever."""
    if frame.hd.type != c.HEADERS or frame.headers.cat == c.HCAT_REQUEST:
        return 0  # a request's stream is ended by the library
    if code in (c.ERR_STREAM_CLOSED, c.ERR_STREAM_CLOSING, c.ERR_STREAM_SHUT_WR, c.ERR_SESSION_CLOSING):
        return 0
    code = c.nghttp2_submit_rst_stream(session, 0, frame.hd.stream_id, 2)  # INTERNAL_ERROR
    return c.ERR_CALLBACK_FAILURE if c.nghttp2_is_fatal(code) else 0


cdef int _on_close(c.Session *session, int32_t stream_id, uint32_t error_code, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef StreamClosed event
    cdef Body body
    try:
        if connection.piece is not None and connection.piece_stream_id == stream_id:
            connection.drop_pieces()
        if connection.head_stream_id == stream_id:
            connection.drop_head()
        body = connection.bodies.pop(stream_id, None)
        if body is not None:
            connection.queued -= body.queued
        event = StreamClosed.__new__(StreamClosed)
        event.stream_id = stream_id
        event.error_code = error_code
        connection.told.append(event)
        return 0
    except BaseException as error:
        return _stop(connection, error)


cdef Py_ssize_t _read_body(
    c.Session *session, int32_t stream_id, uint8_t *buffer, size_t size, uint32_t *flags, c.DataSource *source,
    void *user,
) noexcept:
    """Fill a DATA frame."""
    cdef Connection connection = <Connection>user
    cdef Py_ssize_t room = size, copied = 0, part
    cdef Body body
    try:
        body = connection.bodies[stream_id]
        while body.chunk is not None and copied < room:
            part = min(PyBytes_GET_SIZE(body.chunk) - body.offset, room - copied)
            memcpy(buffer + copied, PyBytes_AS_STRING(body.chunk) + body.offset, part)
            copied += part
            body.offset += part
            if body.offset == PyBytes_GET_SIZE(body.chunk):
                body.offset = 0
                body.chunk = body.rest.popleft() if body.rest else None
        body.queued -= copied
        connection.queued -= copied
        if body.chunk is not None:
            return copied
        if not body.ended:
            if copied:
                return copied
            body.deferred = True
            return c.ERR_DEFERRED
        flags[0] |= c.DATA_FLAG_EOF
        if body.trailers is not None:
            flags[0] |= c.DATA_FLAG_NO_END_STREAM
            if not _submit_trailers(session, stream_id, body):
                return c.ERR_TEMPORAL_CALLBACK_FAILURE
        return copied
    except BaseException as error:
        return _stop(connection, error)


cdef bint _submit_trailers(c.Session *session, int32_t stream_id, Body body) except -1:
    cdef c.NV on_stack[STACK_FIELDS]
    cdef c.NV *fields = _lay_out(body.trailers, on_stack)
    cdef int result = c.nghttp2_submit_trailer(session, stream_id, fields, len(body.trailers))
    if fields != on_stack:
        PyMem_Free(fields)
    body.trailers = None
    return result == 0


cdef void _fill_random(uint8_t *place, size_t size) noexcept:
    """For the library's hash table."""
    cdef bytes value
    memset(place, 0, size)
    try:
        value = urandom(size)
        memcpy(place, PyBytes_AS_STRING(value), size)
    except BaseException:
        pass  # nobody can be told; what the library has by default is there


cdef void _set_callbacks(c.Callbacks *callbacks) noexcept:
    c.nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, _on_begin_headers)
    c.nghttp2_session_callbacks_set_on_header_callback(callbacks, _on_field)
    c.nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, _on_invalid_field)
    c.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, _on_data)
    c.nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, _on_frame)
    c.nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, _on_close)
    c.nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, _on_frame_sent)
    c.nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, _on_frame_not_sent)
    c.nghttp2_session_callbacks_set_rand_callback(callbacks, _fill_random)


cdef void _set_options(c.Option *option, uint32_t max_streams) noexcept:
    """As `engine.py` has them, and ngh2 by default. Extensions are read so that they are counted."""
    c.nghttp2_option_set_no_auto_window_update(option, 1)
    c.nghttp2_option_set_peer_max_concurrent_streams(option, max_streams)
    c.nghttp2_option_set_stream_reset_rate_limit(option, RESETS, RESETS)
    c.nghttp2_option_set_glitch_rate_limit(option, 10_000, 330)
    c.nghttp2_option_set_builtin_recv_extension_type(option, c.ALTSVC)
    c.nghttp2_option_set_builtin_recv_extension_type(option, c.ORIGIN)
    c.nghttp2_option_set_builtin_recv_extension_type(option, c.PRIORITY_UPDATE)
