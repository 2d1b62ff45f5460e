"""The operations of the API, as a table: the routes are made of it, and so is the OpenAPI document."""

from typing import Any, NamedTuple

from turnout.xds.control.api import messages as m

PREFIX = "/api/v1"
JSON = "application/json"
OBJECT = PREFIX + "/objects/{kind}/{namespace}/{name}"


class Query(NamedTuple):
    """A parameter in the query."""

    name: str
    text: str
    schema: dict[str, Any]
    required: bool = False


class Operation(NamedTuple):
    """One method of one path. `errors` are the statuses beside 200 that it may have by itself."""

    name: str
    method: str
    path: str
    text: str
    answer: type[m.Answer]
    query: tuple[Query, ...] = ()
    body: type[m.Request] | None = None
    errors: tuple[int, ...] = ()


_STRING = {"type": "string"}
_WHO = (
    Query("author", "who asks", {"type": "string", "maxLength": 1000}),
    Query("message", "why", {"type": "string", "maxLength": 1000}),
)

OPERATIONS = (
    Operation(
        "listObjects",
        "GET",
        f"{PREFIX}/objects",
        "the objects as they stand",
        m.ObjectList,
        query=(Query("kind", "of this kind only", _STRING), Query("namespace", "in this namespace only", _STRING)),
    ),
    Operation("getObject", "GET", OBJECT, "one object", m.ObjectInfo, errors=(404,)),
    Operation(
        "deleteObject",
        "DELETE",
        OBJECT,
        "delete an object that the API owns",
        m.StateAnswer,
        query=(Query("resourceVersion", "refuse if it is another one now", _STRING), *_WHO),
        errors=(404, 409, 422),
    ),
    Operation(
        "apply",
        "POST",
        f"{PREFIX}/apply",
        "create or replace objects, all or none; metadata.resourceVersion is the base, without it the last writer wins",
        m.ApplyAnswer,
        body=m.ApplyRequest,
        errors=(409, 422),
    ),
    Operation(
        "listStates",
        "GET",
        f"{PREFIX}/states",
        "the history, the newest first",
        m.HistoryAnswer,
        query=(
            Query("limit", "so many", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            Query("before", "older than the state with this number", {"type": "integer", "minimum": 1}),
        ),
    ),
    Operation(
        "diff",
        "GET",
        f"{PREFIX}/diff",
        "what is different between two states, in words",
        m.DiffAnswer,
        query=(
            Query("before", "the first digits of a state's hash", _STRING, required=True),
            Query("after", "likewise", _STRING, required=True),
        ),
        errors=(404,),
    ),
    Operation(
        "rollback",
        "POST",
        f"{PREFIX}/rollback",
        "return to a state, as a new state, and pin it: changed files are held from then on",
        m.RollbackAnswer,
        body=m.RollbackRequest,
        errors=(404, 409, 422),
    ),
    Operation(
        "resume",
        "POST",
        f"{PREFIX}/resume",
        "take the pin away, and what the files say now",
        m.StateAnswer,
        body=m.Request,
        errors=(409,),
    ),
    Operation("status", "GET", f"{PREFIX}/status", "what is accepted, held and wrong, and each proxy", m.StatusAnswer),
)
