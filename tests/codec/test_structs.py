"""What a Struct may hold is looked for in its bytes first: that passes over nothing which a walk through it finds."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.transport.structs import MAX_DEPTH, broken_rules, check_encodable, check_shown

numbers = st.floats() | st.sampled_from((0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308))
keys = st.text(max_size=6) | st.sampled_from(("a", "b.c", 'd"e', "\x00", "\x11\x12\x0a\x2a\x32"))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.text(max_size=8),
    st.just("nothing"),
    st.binary(max_size=12).map(lambda raw: raw.decode("latin-1")),
)


class Unset:
    """A value of no kind, which JSON does not know."""


values = st.recursive(
    leaves | st.builds(Unset),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=4)


def fill(message: Value, value: Any) -> None:
    """Put a value of Python into a message."""
    match value:
        case None:
            message.null_value = 0
        case bool():
            message.bool_value = value
        case float():
            message.number_value = value
        case str():
            message.string_value = value
        case list():
            message.list_value.SetInParent()
            for one in value:
                fill(message.list_value.values.add(), one)
        case dict():
            message.struct_value.SetInParent()
            for name, one in value.items():
                fill(message.struct_value.fields[name], one)
        case _:
            message.SetInParent()


def struct_of(value: dict[str, Any]) -> Struct:
    struct = Struct()
    for name, one in value.items():
        struct.fields[name].SetInParent()
        fill(struct.fields[name], one)
    return struct


def wrong(value: Any) -> Iterator[object]:
    """Yield what JSON cannot say of a value."""
    match value:
        case dict():
            for one in value.values():
                yield from wrong(one)
        case list():
            for one in value:
                yield from wrong(one)
        case float() if not math.isfinite(value):
            yield value
        case Unset():
            yield value


def deep(levels: int, inner: Any = None, *, lists: bool = False) -> dict[str, Any]:
    """Return an object of so many levels, itself counted."""
    value: Any = {"a": inner}
    for level in range(levels - 1):
        value = {"a": [value["a"]]} if lists and level == 0 else {"a": value}
    return value


@given(objects)
def test_what_json_cannot_say_is_found_wherever_it_is(value: dict[str, Any]):
    struct = struct_of(value)
    raw = struct.SerializeToString()
    found = list(broken_rules("input", struct, raw))
    assert len(found) == len(list(wrong(value)))
    assert all(path.startswith("input") for path, _ in found)
    if found:
        with pytest.raises(ValueError, match="input"):
            check_shown("input", raw)
    else:
        check_shown("input", raw)
        MessageToJson(struct)
    check_encodable("input", raw)


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2))
)
def test_text_is_never_broken_whatever_bytes_it_has(value: Any):
    struct = struct_of({"a": value})
    assert list(broken_rules("input", struct, struct.SerializeToString())) == []


@pytest.mark.parametrize("levels", [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 5])
@pytest.mark.parametrize("lists", [False, True])
def test_an_object_has_as_many_levels_as_fit_into_every_reply(levels: int, lists: bool):
    struct = struct_of(deep(levels, lists=lists))
    found = list(broken_rules("input", struct, struct.SerializeToString()))
    assert [rule for _, rule in found] == [f"is nested more than {MAX_DEPTH} levels deep"] * (levels > MAX_DEPTH)


def test_what_was_stored_when_more_levels_were_allowed_is_shown_while_it_fits():
    for levels, fits in ((MAX_DEPTH + 6, True), (MAX_DEPTH + 7, False)):
        raw = struct_of(deep(levels)).SerializeToString()
        for check in (check_shown, check_encodable):
            if fits:
                check("input", raw)
            else:
                with pytest.raises(ValueError, match="nested"):
                    check("input", raw)


@given(st.text(min_size=1, max_size=100))
def test_a_path_names_a_key_as_a_reader_would_write_it(key: str):
    struct = struct_of({key: math.nan})
    [(path, rule)] = broken_rules("input", struct, struct.SerializeToString())
    assert "nan is not a finite number" in rule
    if path.startswith("input["):
        shown = json.loads(path.removeprefix("input[").removesuffix("]"))
        assert key.startswith(shown.removesuffix("…"))
        assert len(shown) <= 65
    else:
        assert path == f"input.{key}"


def test_what_is_absent_has_no_rules():
    check_shown("input", None)
    check_encodable("input", None)
    check_shown("input", b"")
