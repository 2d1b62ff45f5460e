"""Header edits as Envoy's header mutations, which it applies in our order: remove, overwrite, append."""

from typing import Any

from envoy.config.core.v3 import base_pb2

from turnout.rules.snapshot import HeaderEdits

_OPTION = base_pb2.HeaderValueOption


def add_request_edits(message: Any, edits: HeaderEdits) -> None:
    """To a message that has `request_headers_to_add` and `request_headers_to_remove`."""
    message.request_headers_to_add.extend(make_options(edits))
    message.request_headers_to_remove.extend(edits.remove)


def add_response_edits(message: Any, edits: HeaderEdits) -> None:
    """To a message that has `response_headers_to_add` and `response_headers_to_remove`."""
    message.response_headers_to_add.extend(make_options(edits))
    message.response_headers_to_remove.extend(edits.remove)


def make_options(edits: HeaderEdits) -> list[Any]:
    """What is set and added, as HeaderValueOptions."""
    return [
        *(_make_option(pair, _OPTION.OVERWRITE_IF_EXISTS_OR_ADD) for pair in edits.set),
        *(_make_option(pair, _OPTION.APPEND_IF_EXISTS_OR_ADD) for pair in edits.add),
    ]


def _make_option(pair: tuple[str, str], action: int) -> Any:
    name, value = pair
    # Envoy's values are format strings, in which a percent sign is doubled; and it adds no empty one unless told to.
    header = base_pb2.HeaderValue(key=name, value=value.replace("%", "%%"))
    return _OPTION(header=header, append_action=action, keep_empty_value=not value)
