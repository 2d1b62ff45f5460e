"""Files and folders: what is read, and what a running Source sees of changes."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from turnout.rules.files import FileSource, load_paths
from turnout.rules.source import Loaded, Rejected, Source, Update

PREDICTOR = """apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {}}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
"""


def predictor(name: str = "p", port: int = 1) -> str:
    return PREDICTOR.format(name, port)


def names(update: Update) -> list[str]:
    assert isinstance(update, Loaded), update
    return [c.name for c in update.snapshot.clusters]


def codes(update: Update) -> list[str]:
    assert isinstance(update, Rejected), update
    return [d.code for d in update.errors]


async def following(updates: AsyncIterator[Update]) -> Update:
    async with asyncio.timeout(5):
        return await anext(updates)


def watch(*paths: Path) -> tuple[FileSource, AsyncIterator[Update]]:
    source = FileSource(paths, poll_s=0.01)
    return source, source.updates()


def test_a_folder_is_read_in_order_with_its_folders_and_without_hidden_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.yaml", ".hidden.yaml", ".git/d.yaml", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(predictor("x" + path.stem.strip(".")))
    found = load_paths([tmp_path])
    assert [Path(d.file).name for d in found.documents] == ["a.yml", "b.yaml", "c.yaml"]
    assert found.snapshot is not None


def test_a_path_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor())
    assert load_paths([file, tmp_path, file]).errors == ()


def test_a_link_to_a_folder_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(predictor())
    (tmp_path / "round").symlink_to(tmp_path)
    assert load_paths([tmp_path]).errors == ()


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "no-documents", 1),
        (b"---\n# nothing\n", "no-documents", 1),
        (b"a: 1\nb: \xff\n", "not-utf-8", 2),
        (b"a: [\n", "yaml-syntax", 2),
    ],
)
def test_what_holds_no_document_is_an_error(tmp_path: Path, content: bytes, code: str, line: int) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    [found] = load_paths([file]).errors
    assert (found.code, found.origin.file, found.origin.line) == (code, str(file), line)


def test_a_missing_path_and_an_empty_folder_are_errors_that_name_them(tmp_path: Path) -> None:
    found = load_paths([tmp_path / "gone.yaml", tmp_path]).errors
    assert {(d.origin.file, d.code) for d in found} == {
        (str(tmp_path / "gone.yaml"), "not-found"),
        (str(tmp_path), "not-found"),
    }


def test_a_path_that_is_no_file_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """As the shell's `<(…)`: it could be read once, and not watched."""
    os.mkfifo(tmp_path / "pipe")
    [found] = load_paths([tmp_path / "pipe"]).errors
    assert (found.code, found.message) == ("not-found", "this is no regular file")


async def test_the_present_state_comes_first_then_each_change(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor("one"))
    source, updates = watch(tmp_path)
    checked: Source = source
    assert checked is source
    assert names(await following(updates)) == ["default/one"]
    file.write_text(predictor("two"))
    assert names(await following(updates)) == ["default/two"]
    (tmp_path / "b.yaml").write_text(predictor("three"))
    assert names(await following(updates)) == ["default/three", "default/two"]
    file.unlink()
    assert names(await following(updates)) == ["default/three"]


async def test_a_bad_file_is_rejected_once_and_taken_when_it_is_good_again(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: [")
    _, updates = watch(file)
    assert codes(await following(updates)) == ["yaml-syntax"]
    file.write_text(predictor("good"))
    assert names(await following(updates)) == ["default/good"]


async def test_a_file_that_vanishes_is_rejected_and_is_back_when_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor())
    _, updates = watch(file)
    names(await following(updates))
    file.unlink()
    assert codes(await following(updates)) == ["not-found"]
    file.write_text(predictor())
    assert names(await following(updates)) == ["default/p"]


async def test_a_change_under_the_same_time_stamp_and_size_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor("one"))
    info = file.stat()
    _, updates = watch(file)
    assert names(await following(updates)) == ["default/one"]
    with file.open("r+") as same_inode:
        same_inode.write(predictor("two"))
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert names(await following(updates)) == ["default/two"]


async def test_reload_yields_what_is_there_even_if_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor())
    source = FileSource([file], poll_s=3600)
    updates = source.updates()
    first = await following(updates)
    source.reload()
    assert await following(updates) == first


async def test_a_file_that_is_touched_but_the_same_yields_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor("one"))
    _, updates = watch(file)
    await following(updates)
    os.utime(file)
    (tmp_path / "b.yaml").write_text(predictor("other"))
    file.write_text(predictor("two"))
    assert names(await following(updates)) == ["default/two"]


async def test_the_swap_of_a_config_map_is_seen(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "rules.yaml").write_text(predictor(version))
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "rules.yaml").symlink_to("..data/rules.yaml")
    _, updates = watch(tmp_path)
    assert names(await following(updates)) == ["default/one"]
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert names(await following(updates)) == ["default/two"]


async def test_a_file_that_is_still_written_is_not_applied_half(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(predictor("old"))
    _, updates = watch(file)
    await following(updates)
    waiting = asyncio.ensure_future(following(updates))
    with file.open("w") as slow:
        for name in ("one", "two", "three"):
            slow.write("---\n" + predictor(name))
            slow.flush()
            # The writer's pace is what is tested: the file never rests for as long as it takes to settle.
            await asyncio.sleep(0.01)
    assert names(await waiting) == ["default/one", "default/three", "default/two"]
