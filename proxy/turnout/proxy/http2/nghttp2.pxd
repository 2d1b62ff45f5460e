# cython: language_level=3
"""The public interface of libnghttp2 (1.60 and newer), as far as `engine.pyx` uses it.

Cython declares these to the compiler as they stand here, since the library comes without its header.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

ctypedef void Session
ctypedef void Callbacks
ctypedef void Option

cdef enum:
    NV_FLAG_NO_INDEX = 1
    FLAG_END_STREAM = 1
    FLAG_ACK = 1
    DATA_FLAG_EOF = 1
    DATA_FLAG_NO_END_STREAM = 2

cdef enum:  # types of frames (RFC 9113 §6, RFC 7838, RFC 8336, RFC 9218)
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    ALTSVC = 10
    ORIGIN = 12
    PRIORITY_UPDATE = 16

cdef enum:  # categories of HEADERS
    HCAT_REQUEST = 0
    HCAT_RESPONSE = 1
    HCAT_PUSH_RESPONSE = 2
    HCAT_HEADERS = 3

cdef enum:
    ERR_DEFERRED = -508
    ERR_STREAM_CLOSED = -510
    ERR_STREAM_CLOSING = -511
    ERR_STREAM_SHUT_WR = -512
    ERR_TEMPORAL_CALLBACK_FAILURE = -521
    ERR_SESSION_CLOSING = -530
    ERR_NOMEM = -901
    ERR_CALLBACK_FAILURE = -902
    ERR_FLOODED = -904
    ERR_TOO_MANY_CONTINUATIONS = -905

cdef struct NV:
    uint8_t *name
    uint8_t *value
    size_t namelen
    size_t valuelen
    uint8_t flags

cdef struct SettingsEntry:
    int32_t settings_id
    uint32_t value

cdef union DataSource:
    int fd
    void *ptr

ctypedef Py_ssize_t (*ReadCallback)(
    Session *, int32_t, uint8_t *, size_t, uint32_t *, DataSource *, void *
) noexcept

cdef struct DataProvider:
    DataSource source
    ReadCallback read_callback

cdef struct FrameHead:
    size_t length
    int32_t stream_id
    uint8_t type
    uint8_t flags
    uint8_t reserved

cdef struct PrioritySpec:
    int32_t stream_id
    int32_t weight
    uint8_t exclusive

cdef struct HeadersFrame:
    FrameHead hd
    size_t padlen
    PrioritySpec pri_spec
    NV *nva
    size_t nvlen
    int cat

cdef struct RstStreamFrame:
    FrameHead hd
    uint32_t error_code

cdef struct GoawayFrame:
    FrameHead hd
    int32_t last_stream_id
    uint32_t error_code
    uint8_t *opaque_data
    size_t opaque_data_len
    uint8_t reserved

cdef union Frame:
    FrameHead hd
    HeadersFrame headers
    RstStreamFrame rst_stream
    GoawayFrame goaway

ctypedef int (*OnFrame)(Session *, const Frame *, void *) noexcept
ctypedef int (*OnFrameNotSent)(Session *, const Frame *, int, void *) noexcept
ctypedef int (*OnField)(
    Session *, const Frame *, const uint8_t *, size_t, const uint8_t *, size_t, uint8_t, void *
) noexcept
ctypedef int (*OnData)(Session *, uint8_t, int32_t, const uint8_t *, size_t, void *) noexcept
ctypedef int (*OnClose)(Session *, int32_t, uint32_t, void *) noexcept
ctypedef void (*FillRandom)(uint8_t *, size_t) noexcept

cdef extern:
    int nghttp2_session_callbacks_new(Callbacks **)
    void nghttp2_session_callbacks_del(Callbacks *)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(Callbacks *, OnFrame)
    void nghttp2_session_callbacks_set_on_header_callback(Callbacks *, OnField)
    void nghttp2_session_callbacks_set_on_invalid_header_callback(Callbacks *, OnField)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(Callbacks *, OnData)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(Callbacks *, OnFrame)
    void nghttp2_session_callbacks_set_on_stream_close_callback(Callbacks *, OnClose)
    void nghttp2_session_callbacks_set_on_frame_send_callback(Callbacks *, OnFrame)
    void nghttp2_session_callbacks_set_on_frame_not_send_callback(Callbacks *, OnFrameNotSent)
    void nghttp2_session_callbacks_set_rand_callback(Callbacks *, FillRandom)
    int nghttp2_option_new(Option **)
    void nghttp2_option_del(Option *)
    void nghttp2_option_set_no_auto_window_update(Option *, int)
    void nghttp2_option_set_peer_max_concurrent_streams(Option *, uint32_t)
    void nghttp2_option_set_stream_reset_rate_limit(Option *, uint64_t, uint64_t)
    void nghttp2_option_set_glitch_rate_limit(Option *, uint64_t, uint64_t)
    void nghttp2_option_set_builtin_recv_extension_type(Option *, uint8_t)
    int nghttp2_session_client_new2(Session **, const Callbacks *, void *, const Option *)
    int nghttp2_session_server_new2(Session **, const Callbacks *, void *, const Option *)
    void nghttp2_session_del(Session *)
    Py_ssize_t nghttp2_session_mem_recv2(Session *, const uint8_t *, size_t)
    Py_ssize_t nghttp2_session_mem_send2(Session *, const uint8_t **)
    int nghttp2_session_want_read(Session *)
    int nghttp2_session_want_write(Session *)
    int nghttp2_session_check_request_allowed(Session *)
    int nghttp2_session_get_stream_local_close(Session *, int32_t)
    int nghttp2_session_consume(Session *, int32_t, size_t)
    int nghttp2_session_consume_connection(Session *, size_t)
    int nghttp2_session_resume_data(Session *, int32_t)
    int nghttp2_session_set_local_window_size(Session *, uint8_t, int32_t, int32_t)
    int nghttp2_session_terminate_session(Session *, uint32_t)
    int32_t nghttp2_session_get_last_proc_stream_id(Session *)
    uint32_t nghttp2_session_get_remote_settings(Session *, int)
    int nghttp2_submit_settings(Session *, uint8_t, const SettingsEntry *, size_t)
    int32_t nghttp2_submit_request2(Session *, const PrioritySpec *, const NV *, size_t, const DataProvider *, void *)
    int nghttp2_submit_response2(Session *, int32_t, const NV *, size_t, const DataProvider *)
    int32_t nghttp2_submit_headers(Session *, uint8_t, int32_t, const PrioritySpec *, const NV *, size_t, void *)
    int nghttp2_submit_trailer(Session *, int32_t, const NV *, size_t)
    int nghttp2_submit_rst_stream(Session *, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_ping(Session *, uint8_t, const uint8_t *)
    int nghttp2_submit_goaway(Session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t)
    int nghttp2_submit_shutdown_notice(Session *)
    int nghttp2_is_fatal(int)
    const char *nghttp2_strerror(int)
