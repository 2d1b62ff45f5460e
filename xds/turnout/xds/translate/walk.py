"""A message held against the table of supported fields: every field that is set and not in it is a fault."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from turnout.xds.translate.faults import Place
from turnout.xds.translate.fields import HARMLESS, SUPPORTED, Only, Packed, Rule
from turnout.xds.translate.messages import EXTENSION_CLASSES

_WELL_KNOWN = "google.protobuf."


def walk_message(message: Any, place: Place) -> None:
    """Say what is not supported in `message` and in what it holds."""
    rules = SUPPORTED[message.DESCRIPTOR.full_name]
    unknown_fields: Any = UnknownFieldSet(message)  # its stub does not know that it can be iterated
    for unknown in unknown_fields:
        place.say(f"field number {unknown.field_number} is unknown: it is newer than this proxy")
    for field, value in message.ListFields():
        rule = rules.get(field.name)
        if rule is None:
            place.at(field.name).say("is not supported")
        elif rule != HARMLESS:
            _walk_field(field, value, rule, place)


def unpack(packed: Any, place: Place, *type_urls: str) -> Any | None:
    """The extension in an Any; None, and said, if it is of another type or no such message."""
    if packed.type_url not in type_urls:
        place.say(f"{packed.type_url or 'an empty extension'} is not supported; {' or '.join(type_urls)} is")
        return None
    try:
        return EXTENSION_CLASSES[packed.type_url].FromString(packed.value)
    except DecodeError:
        place.say(f"is no valid {packed.type_url}")
        return None


def _walk_field(field: FieldDescriptor, value: Any, rule: Rule, place: Place) -> None:
    if isinstance(rule, Only):
        _check_only(field, value, rule, place.at(field.name))
    elif isinstance(rule, Packed):
        items = value.items() if field.is_repeated else [(None, value)]
        for key, packed in items:
            inner = place.at(field.name if key is None else f"{field.name}[{key}]")
            extension = unpack(packed, inner, *rule.type_urls)
            if extension is not None:
                walk_message(extension, inner)
    elif field.message_type is not None and not field.message_type.full_name.startswith(_WELL_KNOWN):
        if not field.is_repeated:
            walk_message(value, place.at(field.name))
        elif field.message_type.GetOptions().map_entry:
            _walk_map(field.message_type.fields_by_name["value"].message_type, value, place.at(field.name))
        else:
            for index, item in enumerate(value):
                walk_message(item, place.at(field.name, index))


def _walk_map(kind: Descriptor | None, value: Any, place: Place) -> None:
    if kind is not None and not kind.full_name.startswith(_WELL_KNOWN):
        for key, item in value.items():
            walk_message(item, place.item(key))


def _check_only(field: FieldDescriptor, value: Any, rule: Only, place: Place) -> None:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        value = known.name if known is not None else value
    elif field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
        value = value.seconds + value.nanos / 1e9
    elif field.message_type is not None:
        value = value.value
    if value != rule.value:
        place.say(f"{value} is not supported; {rule.value} is, which is what the proxy does")
