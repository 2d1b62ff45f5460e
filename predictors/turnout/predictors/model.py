"""Which model a request is for, as the model server will see it: by the path, without the body.

| protocol | path |
|---|---|
| V2 (Open Inference Protocol, Triton) | `/v2/models/{m}[/versions/{v}]`, alone or with anything below it: `/infer`, \
`/generate`, `/generate_stream`, `/ready`, `/config` … |
| V1 (TensorFlow Serving, KServe) | `/v1/models/{m}[/versions/{v} or /labels/{l}]`, alone, with a verb (`:predict`, \
`:explain`, `:classify`, `:regress`) or with `/metadata`; in any case, as TensorFlow Serving takes it |

These are whole paths: below a prefix they may be anything. A label is no version. OpenAI names the model in the body
(see `model_in_grpc` for gRPC).

Servers differ in when they undo escapes: some split the path first (Triton), others undo all of it first (Starlette,
under KServe and MLServer), to whom `%2F` is a slash like others. A name is told only if no server can read another one
out of the same path.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

MAX_BYTES = 1_024
"""Of a name or a version. No server has a longer one, and it goes into a header."""


class Model(NamedTuple):
    """A model's name, which is not empty, and its version, which is if the request leaves it to the server.

    Both are UTF-8 and can be the value of a header as they are (see `is_plain`).
    """

    name: bytes
    version: bytes


_match_v2 = re.compile(rb"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/.*)?", re.DOTALL).fullmatch
_match_known_v2 = re.compile(
    rb"/v2/models/([^/]+)(?:/versions/([^/]+))?"
    rb"(?:/(?:infer|generate|generate_stream|ready|config|stats|trace/setting))?/?"
).fullmatch
_match_v1 = re.compile(
    rb"/v1/models/((?!:)[^/]+?)(?:/versions/([^/]+?)|/labels/[^/]+?)?(?:/metadata|:(?:predict|explain|classify|regress))?",
    re.IGNORECASE,
).fullmatch
_IS_PLAIN = re.compile(rb"(?![ ])[ -~\x80-\xff]+(?<![ ])").fullmatch
_MISLEADS = re.compile(rb"(?:^|/)\.{0,2}(?:/|$)").search
"""An element that is empty or of dots: a server that resolves it sees another path."""


def read_model_from_path(path: bytes) -> Model | None:
    """The model that a path (normalised, without its query) names; None if it names none, or not for sure."""
    found = _match_v2(path) or _match_v1(path)
    if found is None:
        return None
    model = Model(found[1], found[2] or b"")
    if b"%" in path:
        model = Model(unquote_to_bytes(model.name), unquote_to_bytes(model.version))
        if _MISLEADS(model.name) or (model.version and _MISLEADS(model.version)) or _reads_otherwise(path, model):
            return None
    return model if is_plain(*model) else None


def _reads_otherwise(path: bytes, model: Model) -> bool:
    """Whether a server that undoes all escapes first takes the path for another model's; what is none to it, it
    refuses."""
    path = unquote_to_bytes(path)
    found = _match_known_v2(path) or _match_v1(path)
    return found is not None and (found[1], found[2] or b"") != model


def is_plain(name: bytes, version: bytes) -> bool:
    """Whether these can be header values that every reader takes for the same: UTF-8 without control characters, no
    blank at an end, not too long; the name not empty."""
    return bool(name) and _is_value(name) and (not version or _is_value(version))


def _is_value(text: bytes) -> bool:
    if len(text) > MAX_BYTES or not _IS_PLAIN(text):
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
