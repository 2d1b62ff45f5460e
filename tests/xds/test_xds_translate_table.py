"""The table of what is supported is the documentation's, and is of Envoy's own fields."""

import re
from pathlib import Path

from turnout.xds.translate.fields import HARMLESS, READ, SUPPORTED, Only, Packed
from turnout.xds.translate.messages import EXTENSION_CLASSES, RESOURCE_CLASSES

DOCS = Path(__file__).parents[2] / "docs" / "xds.md"


def described() -> list[str]:
    """The table as the documentation has it."""
    words = {READ: "yes", HARMLESS: "taken, without effect"}
    lines = []
    for message, rules in SUPPORTED.items():
        for field, rule in rules.items():
            match rule:
                case Only(value):
                    word = f"only `{str(value).lower() if isinstance(value, bool) else value}`"
                case Packed(type_urls):
                    word = "only " + ", ".join(f"`{url.rpartition('.')[2]}`" for url in type_urls)
                case _:
                    word = words[str(rule)]
            lines.append(f"| `{re.sub(r'^.*v3[.]', '', message)}.{field}` | {word} |")
    return lines


def test_the_documentation_has_the_table_of_what_is_supported() -> None:
    text = DOCS.read_text()
    assert [line for line in described() if line not in text] == []
    assert len(described()) == len(re.findall(r"^\| `[A-Z]\w+(?:\.\w+)+` \|", text, re.MULTILINE))


def test_every_field_of_the_table_is_one_of_envoys() -> None:
    seen = set()
    waiting = [cls.DESCRIPTOR for cls in (*RESOURCE_CLASSES.values(), *EXTENSION_CLASSES.values())]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in seen or descriptor.full_name.startswith("google.protobuf."):
            continue
        seen.add(descriptor.full_name)
        for name, rule in SUPPORTED[descriptor.full_name].items():
            field = descriptor.fields_by_name[name]
            inner = field.message_type
            if inner is not None and inner.GetOptions().map_entry:
                inner = inner.fields_by_name["value"].message_type
            if rule == READ and inner is not None:
                waiting.append(inner)
    assert seen == SUPPORTED.keys()
