"""Objects keep what their author wrote, and where; and two texts that say the same are the same object."""

import pytest

from turnout.rules.documents.document import Report
from turnout.xds.store.objects import StoredObject, hash_objects, load_object, read_objects

PREDICTOR = "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: a}\nspec: {endpoints: []}\n"


def read(text: str, file: str = "rules.yaml") -> list[StoredObject]:
    report = Report()
    found = read_objects(file, text, "api", report)
    assert report.found == []
    return found


def reload(item: StoredObject) -> StoredObject:
    return load_object(item.text, item.file, item.line, item.owner, item.version)


@pytest.mark.parametrize(
    "text",
    [
        f"# a comment\n{PREDICTOR}---\n{PREDICTOR.replace('name: a', 'name: b')}",
        f"---\n{PREDICTOR}...\n---\n# why\n{PREDICTOR.replace('name: a', 'name: b')}---\n",
        f"{PREDICTOR}--- # next\r\n{PREDICTOR.replace('name: a', 'name: b')}",
        f"# a\x85# b\u2028# c\r# d\n{PREDICTOR}---\n{PREDICTOR.replace('name: a', 'name: b')}",
    ],
)
def test_an_object_that_is_read_again_from_its_own_text_is_the_same_at_the_same_lines(text: str) -> None:
    first, second = found = read(text)
    assert [item.key.name for item in found] == ["a", "b"]
    assert first.line < second.line
    for item in found:
        again = reload(item)
        assert (again.key, again.digest, again.line) == (item.key, item.digest, item.line)
        assert again.document.origin("spec", "endpoints") == item.document.origin("spec", "endpoints")


def test_a_file_with_directives_is_kept_without_them() -> None:
    text = f"%YAML 1.1\n---\n{PREDICTOR}...\n%YAML 1.1\n---\n{PREDICTOR.replace('name: a', 'name: b')}"
    for item in read(text):
        assert reload(item).digest == item.digest


def test_an_anchor_with_its_aliases_is_moved_once() -> None:
    text = (
        "---\n" * 3
        + "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\n"
        + "metadata: {name: a, labels: &x {app: iris}, annotations: *x}\nspec: {endpoints: []}\n"
    )
    (item,) = read(text)
    assert reload(item).document.origin("metadata", "labels") == item.document.origin("metadata", "labels")


def test_comments_order_and_what_a_server_fills_in_do_not_count() -> None:
    other = (
        "kind: Predictor # why\napiVersion: turnout.dev/v1alpha1\nspec:\n  endpoints: []\n"
        "metadata:\n  resourceVersion: '7'\n  generation: 3\n  name: a\nstatus: {anything: 1}\n"
    )
    assert read(PREDICTOR)[0].digest == read(other)[0].digest


@pytest.mark.parametrize("change", [("name: a", "name: b"), ("endpoints: []", "endpoints: [], protocol: http1")])
def test_what_says_something_else_has_another_digest(change: tuple[str, str]) -> None:
    assert read(PREDICTOR)[0].digest != read(PREDICTOR.replace(*change))[0].digest


def test_the_hash_of_a_state_does_not_hang_on_the_order() -> None:
    one, two = read(PREDICTOR)[0], read(PREDICTOR.replace("name: a", "name: b"))[0]
    assert hash_objects([one, two]) == hash_objects([two, one]) != hash_objects([one])


def test_what_cannot_be_read_any_more_says_where_and_why() -> None:
    with pytest.raises(ValueError, match=r"rules.yaml:5: .*no field gone"):
        load_object(PREDICTOR.replace("endpoints", "gone"), "rules.yaml", 5, "api", 1)
