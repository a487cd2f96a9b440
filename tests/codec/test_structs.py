"""What a Struct may hold is looked for in its bytes first: that passes over nothing which a walk through it finds."""

import json
import math
import random
import struct as packing
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.transport.encoding.structs import MAX_DEPTH, broken_rules, check_encodable, check_shown

numbers = st.floats() | st.sampled_from((0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308))
keys = st.text(max_size=6) | st.sampled_from(("a", "b.c", 'd"e', "\x00", "\x11\x12\x0a\x2a\x32"))
lengths = st.sampled_from((0, 1, 126, 127, 128, 129, 16_383, 16_384))
long_texts = st.builds(lambda end, length: "\n\x00" * (length // 2) + end, st.text(max_size=2), lengths)
"""With what looks like a value without a kind."""
keys |= long_texts
leaves = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.text(max_size=8),
    long_texts,
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


def messages(value: Any) -> int:
    """Return how deep the messages are nested that a value takes, its own left out."""
    match value:
        case dict():
            return 1 + max((2 + messages(one) for one in value.values()), default=0)
        case list():
            return 1 + max((1 + messages(one) for one in value), default=0)
    return 0


def deep(levels: int, inner: Any = None, *, lists: bool = False) -> dict[str, Any]:
    """Return an object of so many levels, itself counted."""
    value: Any = {"a": inner}
    for level in range(levels - 1):
        value = {"a": [value["a"]]} if lists and level == 0 else {"a": value}
    return value


@given(objects)
def test_what_json_cannot_report_is_found_wherever_it_is(value: dict[str, Any]):
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
    assert [rule for _, rule in found] == [f"must be nested at most {MAX_DEPTH} levels deep"] * (levels > MAX_DEPTH)


nested = st.recursive(
    leaves, lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(keys, inner, min_size=1, max_size=2)
)


@given(nested, st.lists(st.sampled_from("ol"), min_size=14, max_size=40), st.booleans())
def test_how_deep_a_struct_is_does_not_depend_on_what_else_it_holds(value: Any, path: list[str], beside: bool):
    for step in path:
        value = ({"a": value, "b": [[]]} if beside else {"a": value}) if step == "o" else [value]
    value = {"a": value}
    struct = struct_of(value)
    raw = struct.SerializeToString(deterministic=True)
    rules = {rule for _, rule in broken_rules("input", struct, raw)}
    assert any("nested" in rule for rule in rules) == (messages(value) > MAX_DEPTH * 3)
    assert bool(rules) == (messages(value) > MAX_DEPTH * 3 or any(wrong(value)))


def list_of(fill_one: Callable[[Value], object], *, levels: int = 1) -> Struct:
    struct = Struct()
    inner = struct
    for _ in range(levels - 1):
        inner = inner.fields["a"].struct_value
    values = inner.fields["a"].list_value.values
    for _ in range(4_000):
        fill_one(values.add())
    return struct


chance = random.Random(5)
LARGE: dict[str, Struct] = {
    "doubles of any bytes": list_of(lambda value: setattr(value, "number_value", chance.uniform(-1e300, 1e300))),
    "doubles that hold the bytes of others": list_of(
        lambda value: setattr(value, "number_value", packing.unpack("<d", b"\xf0\x7f\x0a\x00\x11\x00\x00\x00")[0])
    ),
    "texts with zeros": list_of(lambda value: setattr(value, "string_value", "\n\0\x12\0" * chance.randrange(8))),
    "whole numbers": list_of(lambda value: setattr(value, "number_value", float(chance.randrange(5_000)))),
    "lists far down": list_of(lambda value: value.list_value.SetInParent(), levels=22),
    "objects far down": list_of(lambda value: value.struct_value.fields["*2*"].SetInParent(), levels=2),
}
for one in LARGE["objects far down"].fields["a"].struct_value.fields["a"].list_value.values:
    one.struct_value.fields["*2*"].bool_value = True


@pytest.mark.guarantee("3b.1")
@pytest.mark.parametrize("struct", LARGE.values(), ids=LARGE.keys())
def test_no_python_runs_for_each_value_of_a_large_struct(struct: Struct):
    raw = struct.SerializeToString(deterministic=True)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        found = list(broken_rules("input", struct, raw))
        check_shown("input", raw)
        check_encodable("input", raw)
    finally:
        sys.setprofile(before)
    assert found == []
    assert calls < 1_000


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
    assert "value nan must be a finite number" in rule
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
