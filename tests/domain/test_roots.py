"""Roots: a URI lies under one only when it can be read in no other way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobledger_service.features.artifacts.rules import ArtifactLocation, InvalidRootError, Roots, parse_root

ROOTS = Roots([parse_root("s3://bucket/out"), parse_root("file:///srv/media/"), parse_root("gs://whole/")])

letters = st.characters(codec="ascii", exclude_characters="/\\%?#: \x7f", categories=["L", "N", "P", "S"])
plain = st.text(letters, min_size=1)
segments = st.lists(plain.filter(lambda one: one not in (".", "..")), min_size=1, max_size=4)


@settings(deadline=None)
@given(segments)
def test_what_is_plainly_below_a_root_is_under_it(names: list[str]):
    path = "/".join(names)
    assert ROOTS.locate(f"s3://bucket/out/{path}", "default") == ArtifactLocation(
        "s3", "bucket", ("out",), tuple(names)
    )
    assert ROOTS.locate(f"file:///srv/media/{path}", "default") == ArtifactLocation(
        "file", "", ("srv", "media"), tuple(names)
    )
    assert ROOTS.locate(f"gs://whole/{path}", "default") == ArtifactLocation("gs", "whole", (), tuple(names))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/outside/x",  # not at a boundary
        "s3://bucket/out",
        "s3://bucket/out/",
        "s3://bucket/x",
        "s3://Bucket/out/x",
        "S3://bucket/out/x",
        "s3://bucket:80/out/x",
        "s3://bucket@evil/out/x",
        "s3://key:secret@bucket/out/x",
        "s3://other/out/x",
        "s3:/bucket/out/x",
        "s3:bucket/out/x",
        "//bucket/out/x",
        "s3://bucket/out/../x",
        "s3://bucket/out/./x",
        "s3://bucket/out//x",
        "s3://bucket//out/x",
        "s3://bucket/out/a/..",
        "s3://bucket/out/a/",
        "s3://bucket/out/%2e%2e/x",
        "s3://bucket/out/a%2fb",
        "s3://bucket/out/a%20b",  # an encoding, or a key with a percent sign: nobody knows
        "s3://bucket/out/a\\b",
        "s3://bucket/out/a\x00b",
        "s3://bucket/out/a\nb",
        "s3://bucket/out/a b",
        "s3://bucket/out/x?versionId=1",
        "s3://bucket/out/x#y",
        "s3://bucket/out/x::file:///etc/passwd",
        "file:///srv/media/%2e%2e/x",
        "file:///srv/media/%2E%2E/x",
        "file:///srv/media/%252e%252e/x",
        "file:///srv/media/a%2fb",
        "file:///srv/media/a%5cb",
        "file:///srv/media/a%00b",
        "file:///srv/media/%25",
        "file:///srv/media/%ff",
        "file:///srv/media/\ud800",
        "file://localhost/srv/media/x",
        "file://srv/media/x",
        "file:/srv/media/x",
        "file:////srv/media/x",
        "file:///srv/mediaX/x",
        "file:///srv/media/",
        "FILE:///srv/media/x",
        "",
        "x",
    ],
)
def test_what_can_be_read_in_another_way_is_under_none(uri: str):
    assert ROOTS.locate(uri, "default") is None


def test_an_encoded_name_of_a_file_is_decoded_once():
    assert ROOTS.locate("file:///srv/media/a%20b%C3%A9", "default") == ArtifactLocation(
        "file", "", ("srv", "media"), ("a bé",)
    )
    assert ROOTS.locate("file:///srv/%6dedia/x", "default") == ArtifactLocation("file", "", ("srv", "media"), ("x",))


NAMED = Roots([parse_root("https://media.example/out/=file:///srv/media/"), parse_root("s3://bucket/year=2026/")])


@settings(deadline=None)
@given(segments)
def test_an_address_may_stand_for_where_its_files_are(names: list[str]):
    path = "/".join(names)
    assert NAMED.locate(f"https://media.example/out/{path}", "default") == ArtifactLocation(
        "file", "", ("srv", "media"), tuple(names)
    )
    assert NAMED.locate(f"file:///srv/media/{path}", "default") is None, "it was not allowed by that name"
    assert NAMED.locate(f"s3://bucket/year=2026/{path}", "default") == ArtifactLocation(
        "s3", "bucket", ("year=2026",), tuple(names)
    )


@pytest.mark.parametrize(
    "uri",
    [
        "https://media.example/out/",
        "https://media.example/outside/x",
        "http://media.example/out/x",
        "https://media.example:443/out/x",
        "https://media.example@evil/out/x",
        "https://media.example/out/../x",
        "https://media.example/out/%2e%2e/x",
        "https://media.example/out/a%20b",
        "https://media.example/out/x?download=1",
    ],
)
def test_an_address_that_can_be_read_in_another_way_stands_for_nothing(uri: str):
    assert NAMED.locate(uri, "default") is None


def test_without_roots_nothing_is_under_one():
    assert Roots().locate("s3://bucket/out/x", "default") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/srv",
        "s3://",
        "s3:///x",
        "file:///",
        "file://host/x",
        "s3://b/../c",
        "s3://b//c",
        "s3://b/c?x",
        "s3://b/%2e/",
        "=s3://b/c",
        "https://media.example/=file:///",
        "https://a.example/=s3://b/=s3://c/",
    ],
)
def test_a_root_has_to_be_plain_itself(text: str):
    with pytest.raises(InvalidRootError, match=r"expected|like"):
        parse_root(text)
