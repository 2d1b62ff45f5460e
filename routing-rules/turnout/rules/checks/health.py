"""Checks of `healthCheck`: that it is known what to ask, and that the questions can be sent as they are."""

from base64 import b64decode

from turnout.rules.apis import MODEL_PATHS, SERVER_PATHS
from turnout.rules.checks.common import check_duration, check_unique
from turnout.rules.checks.syntax import (
    UNEDITABLE_HEADERS,
    grpc_name_fault,
    header_name_fault,
    header_value_fault,
    host_field_fault,
    target_fault,
)
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.healthcheck import GrpcCheck, GrpcWarmCall, HealthCheck, HttpCheck, StatusRange, WarmCheck
from turnout.rules.documents.httproute import Header

_PLACE = ("spec", "healthCheck")


def check_health_check(say: Reporter, written: HealthCheck, api: str, protocol: str) -> None:
    check_duration(say, (*_PLACE, "interval"), written.interval, positive=True)
    check_duration(say, (*_PLACE, "timeout"), written.timeout, positive=True)
    check_duration(say, (*_PLACE, "intervalJitter"), written.interval_jitter)
    _check_question(say, written, api)
    if written.grpc is not None:
        _check_grpc(say, (*_PLACE, "grpc"), written.grpc, protocol)
    if written.http is not None:
        _check_http(say, (*_PLACE, "http"), written.http)
    if written.warm is not None:
        _check_warm(say, (*_PLACE, "warm"), written.warm, protocol)


def _check_question(say: Reporter, written: HealthCheck, api: str) -> None:
    if written.tcp is not None:
        for name, given in (("http", written.http), ("grpc", written.grpc), ("model", written.model)):
            if given is not None:
                say.error((*_PLACE, name), "health-check-conflict", f"tcp and {name} exclude each other")
        return
    if written.grpc is not None:
        if written.http is not None:
            say.error((*_PLACE, "http"), "health-check-conflict", "grpc and http exclude each other")
        if written.model is not None and api != "oip-v2":
            fault = "over gRPC only api: oip-v2 tells whether a model is ready"
            say.error((*_PLACE, "model"), "no-effect", fault)
        return
    if written.model is not None and api not in MODEL_PATHS:
        fault = f"model needs an api that tells whether a model is ready: {', '.join(MODEL_PATHS)}"
        say.error((*_PLACE, "model"), "no-effect", fault)
    has_path = written.http is not None and written.http.path is not None
    if not has_path and written.model is None and api not in SERVER_PATHS:
        fault = f"with api: {api} it is not known what to ask; http.path, grpc or tcp says it"
        say.error(_PLACE, "missing-field", fault)


def _check_http(say: Reporter, path: Path, written: HttpCheck) -> None:
    if written.path is not None and (fault := target_fault(written.path)):
        say.error((*path, "path"), "invalid-path", fault)
    if written.host and (fault := host_field_fault(written.host)):
        say.error((*path, "host"), "invalid-hostname", fault)
    _check_headers(say, (*path, "headers"), written.headers)
    _check_statuses(say, (*path, "expectedStatuses"), written.expected_statuses)


def _check_grpc(say: Reporter, path: Path, written: GrpcCheck, protocol: str) -> None:
    _check_protocol(say, path, protocol)
    if written.authority and (fault := host_field_fault(written.authority)):
        say.error((*path, "authority"), "invalid-hostname", fault)
    _check_headers(say, (*path, "metadata"), written.metadata)


def _check_protocol(say: Reporter, path: Path, protocol: str) -> None:
    if protocol in ("http1", "auto"):
        say.error(path, "protocol-mismatch", f"gRPC needs HTTP/2, and the protocol is {protocol}; h2c has it")


def _check_warm_call(say: Reporter, path: Path, written: GrpcWarmCall, protocol: str) -> None:
    _check_protocol(say, path, protocol)
    for name, value in (("service", written.service), ("method", written.method)):
        if fault := grpc_name_fault(value):
            say.error((*path, name), "invalid-value", fault)
    try:
        b64decode(written.message, validate=True)
    except ValueError as error:
        say.error((*path, "message"), "invalid-value", f"it is not base64: {error}")
    _check_headers(say, (*path, "metadata"), written.metadata)


def _check_warm(say: Reporter, path: Path, written: WarmCheck, protocol: str) -> None:
    check_duration(say, (*path, "timeout"), written.timeout, positive=True)
    if (written.path is None) is (written.grpc is None):
        say.error(path, "missing-field", "one of path and grpc says what is asked")
        return
    if written.grpc is not None:
        _check_warm_call(say, (*path, "grpc"), written.grpc, protocol)
        for name, given in (("headers", written.headers), ("body", written.body)):
            if given:
                say.error((*path, name), "no-effect", f"{name} is of a request by path; grpc has its own")
        return
    if written.path is not None and (fault := target_fault(written.path)):
        say.error((*path, "path"), "invalid-path", fault)
    if written.body and written.method == "GET":
        say.error((*path, "body"), "no-effect", "a GET has no body")
    _check_headers(say, (*path, "headers"), written.headers)
    _check_statuses(say, (*path, "expectedStatuses"), written.expected_statuses)


def _check_headers(say: Reporter, path: Path, headers: tuple[Header, ...]) -> None:
    check_unique(say, path, (h.name.lower() for h in headers), "header")
    for index, header in enumerate(headers):
        if fault := header_name_fault(header.name):
            say.error((*path, index, "name"), "invalid-header", fault)
        elif header.name.lower() in UNEDITABLE_HEADERS:
            say.error((*path, index, "name"), "uneditable-header", f"{header.name} is the proxy's own")
        if fault := header_value_fault(header.value):
            say.error((*path, index, "value"), "invalid-header", fault)


def _check_statuses(say: Reporter, path: Path, ranges: tuple[StatusRange, ...]) -> None:
    if not ranges:
        say.error(path, "invalid-value", "without a status that is well no endpoint ever is")
    for index, expected in enumerate(ranges):
        if expected.end <= expected.start:
            fault = f"no status is in it: end {expected.end} is the first that is not, and start is {expected.start}"
            say.error((*path, index), "invalid-value", fault)
