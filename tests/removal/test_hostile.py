"""Deletion below a root: of all hostile URIs none ever touches what lies outside, in a real tree and in a bucket."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobledger_service.features.artifacts.objects import NoDriverError, check_driver, remove
from jobledger_service.features.artifacts.rules import NotDeletedError, Roots, parse_root

HOSTILE = [
    "..", ".", "", "/", "//", "%2e%2e", "%2E.", "%252e%252e", "%2f", "%2F..%2F", "\\", "..\\", "%5c", "\x00", "%00",
    "*", "?", "[a-z]", "**", "~", "$HOME", "::", "#", "@", ":", ";", "a", "dir", "link", "outlink", "keep", "out", "in",
    "secret", "é", "%c3%a9", " ", "%20", "\u2025", "\uff0e\uff0e", "\u2215", "file:", "memory:",
]  # fmt: skip
below = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=3)), max_size=6).map("/".join)
heads = st.sampled_from(
    ["{root}/", "{root}", "{root}/../", "{root}/dir/", "{root}/link/", "{root}side/", "{ROOT}/", "{up}/"]
)
quick = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def outcome(roots: Roots, uri: str, owner: str = "default") -> bool | str:
    """Do as the service does; return whether something was deleted, or why not."""
    location = roots.locate(uri, owner)
    if location is None:
        return "outside"
    try:
        return remove(location)
    except NotDeletedError as error:
        return str(error)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a root with a directory, and links to what is outside, beside which there is more."""
    root = tmp_path / "out"
    (root / "dir").mkdir(parents=True)
    for directory in (tmp_path / "outside", tmp_path / "secret"):
        directory.mkdir()
        (directory / "keep").write_text("kept")
    (tmp_path / "keep").write_text("kept")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "dir" / "link").symlink_to(tmp_path)
    return root


def outside_of(tree: Path) -> dict[str, str]:
    """Return all files beside the root with what is in them."""
    above = tree.parent
    return {
        str(file): file.read_text() for file in above.rglob("*") if file.is_file() and not file.is_relative_to(tree)
    }


@quick
@given(head=heads, path=below)
def test_a_hostile_uri_deletes_nothing_outside_its_root(tree: Path, head: str, path: str):
    for name in ("a", "dir/a", "é"):
        (tree / name).write_text("x")
    for name in ("out", "outlink"):
        (tree / name).unlink(missing_ok=True)
        (tree / name).symlink_to(tree.parent / "keep")
    before = outside_of(tree)
    root = f"file://{tree}"
    uri = head.format(root=root, ROOT=root.upper(), up=f"file://{tree.parent}") + path
    outcome(Roots([parse_root(root)]), uri)
    assert outside_of(tree) == before
    assert len(before) == 3
    assert (tree / "dir").is_dir()


@pytest.fixture
def bucket() -> Iterator[Callable[[], set[str]]]:
    """Return a function that lists a bucket which has objects under a root and beside it."""
    files = MemoryFileSystem(skip_instance_cache=True)
    for name in ("in/a", "in/dir/a", "inside/keep", "keep", "in2/keep"):
        files.pipe_file(f"/bucket/{name}", b"x")
    files.pipe_file("/other/in/keep", b"x")
    yield lambda: set(files.find("/"))
    files.rm("/bucket", recursive=True)
    files.rm("/other", recursive=True)


@quick
@given(head=heads, path=below)
def test_a_hostile_uri_deletes_nothing_outside_its_bucket(bucket: Callable[[], set[str]], head: str, path: str):
    root = "memory://bucket/in"
    before = bucket()
    outcome(Roots([parse_root(root)]), head.format(root=root, ROOT=root.upper(), up="memory://bucket") + path)
    gone = before - bucket()
    assert gone <= {"/bucket/in/a", "/bucket/in/dir/a"}
    MemoryFileSystem().pipe_file("/bucket/in/a", b"x")
    MemoryFileSystem().pipe_file("/bucket/in/dir/a", b"x")


def test_files_go_one_by_one_and_what_is_missing_is_distinguished(tree: Path):
    (tree / "dir" / "a b").write_text("x")
    roots = Roots([parse_root(f"file://{tree}")])
    assert outcome(roots, f"file://{tree}/dir/a%20b") is True
    assert outcome(roots, f"file://{tree}/dir/a%20b") is False
    assert outcome(roots, f"file://{tree}/gone/a") is False
    assert outcome(roots, f"file://{tree}/dir") == "it is a directory"
    assert outcome(roots, f"file://{tree}/link/keep") == "a part of its path is a link or no directory"
    assert outcome(roots, f"file://{tree}/{'x' * 300}") == "a part of its path is too long"


def test_files_below_a_root_that_is_not_mounted_are_not_missing(tree: Path):
    result = outcome(Roots([parse_root(f"file://{tree}/unmounted")]), f"file://{tree}/unmounted/a")
    assert result == f"the root {tree}/unmounted is not there"


def test_of_a_link_the_name_goes_and_what_it_leads_to_stays(tree: Path):
    assert outcome(Roots([parse_root(f"file://{tree}")]), f"file://{tree}/link") is True
    assert not os.path.lexists(tree / "link")
    assert (tree.parent / "secret" / "keep").read_text() == "kept"


def test_objects_go_one_by_one_and_a_pattern_is_a_name(bucket: Callable[[], set[str]]):
    roots = Roots([parse_root("memory://bucket/in")])
    assert outcome(roots, "memory://bucket/in/*") is False
    assert outcome(roots, "memory://bucket/in/dir") == "it is a directory"
    assert outcome(roots, "memory://bucket/in/dir/a") is True
    assert outcome(roots, "memory://bucket/in/dir/a") is False
    assert "/bucket/in/a" in bucket()


def test_a_file_that_cannot_be_deleted_now_may_be_later():
    location = Roots([parse_root("file:///proc/self")]).locate("file:///proc/self/status", "default")
    assert location is not None
    with pytest.raises(NotDeletedError) as caught:
        remove(location)
    assert caught.value.may_pass


@pytest.mark.parametrize(
    ("root", "result"), [("ftp://host/x", "only at"), ("az://bucket/out", "jobledger-service\\[az\\]")]
)
def test_a_root_without_a_driver_is_refused(root: str, result: str):
    with pytest.raises(NoDriverError, match=result):
        check_driver(parse_root(root))


@pytest.fixture
def owned(tree: Path) -> Path:
    """Return a root with a directory of alice's, a link that she made, and another owner's directory beside it."""
    (tree / "alice" / "dir").mkdir(parents=True)
    (tree / "alice" / "link").symlink_to(tree / "dir")
    (tree / "dir" / "keep").write_text("kept")
    (tree / "bob").mkdir()
    (tree / "bob" / "keep").write_text("kept")
    (tree / "mallory").symlink_to(tree / "bob")
    return tree


@pytest.mark.guarantee("3b.8")
@quick
@given(head=heads, path=below, owner=st.sampled_from(["alice", "..", ".", "bob/..", "", "%2e%2e", "{owner}", "a\x00b"]))
def test_a_hostile_uri_deletes_nothing_outside_its_owners_directory(owned: Path, head: str, path: str, owner: str):
    for name in ("a", "dir/a", "é"):
        (owned / "alice" / name).write_text("x")
    before = outside_of(owned / "alice")
    root = f"file://{owned}/alice"
    uri = head.format(root=root, ROOT=root.upper(), up=f"file://{owned}") + path
    done = outcome(Roots([parse_root(f"file://{owned}/{{owner}}")]), uri, owner)
    assert outside_of(owned / "alice") == before
    assert len(before) == 2
    assert done == "outside" or owner == "alice"


def test_an_owners_directory_is_never_a_link_and_one_that_is_gone_is_no_missing_file(owned: Path):
    roots = Roots([parse_root(f"file://{owned}/{{owner}}/out")])
    assert (
        outcome(roots, f"file://{owned}/mallory/out/keep", "mallory") == "a part of its path is a link or no directory"
    )
    assert outcome(roots, f"file://{owned}/carol/out/keep", "carol") == f"the root {owned}/carol/out is not there"
    assert (owned / "bob" / "keep").exists()
