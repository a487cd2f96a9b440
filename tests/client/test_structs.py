"""What JSON cannot hold without loss is refused before it is sent, with the path of the value."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import ChunkCompletion, LeaseReport, ProgressReport
from jobledger_client import ChunkSpec, JobClient, RetryPolicy
from jobledger_client._structs import MAX_DEPTH, MAX_INTEGER, plain, struct
from jobledger_client.cli._main import run

NOWHERE = "127.0.0.1:1"
"""No server: what is refused before it is sent needs none."""


def nested(depth: int) -> dict[str, Any]:
    """Return objects within one another, so many."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


UNSET = Struct()
UNSET.fields["x"].Clear()
WRONG: list[tuple[Any, str, str]] = [
    ({"losses": [0.5, 0.4, 0.3, nan]}, "input.losses[3]", "must be a finite number; got nan"),
    ({"best": {"loss": -inf}}, "input.best.loss", "must be a finite number; got -inf"),
    (
        {"ids": [MAX_INTEGER + 1]},
        "input.ids[0]",
        "must be within ±2**53 to be exact; got 9007199254740993",
    ),
    ({"id": -MAX_INTEGER - 1}, "input.id", "must be within ±2**53 to be exact; got -9007199254740993; send a string"),
    ({"big": 10**5_000}, "input.big", "got an integer of 16610 bits"),
    (
        {"a b": {"when": datetime(2026, 1, 31, tzinfo=UTC)}},
        "input['a b'].when",
        "JSON has no datetime; send a str",
    ),
    ({"day": date(2026, 1, 31)}, "input.day", "JSON has no date; send a string, such as that of isoformat()"),
    ({"raw": b"x"}, "input.raw", "JSON has no bytes; send a string, such as that of base64"),
    ({"tags": {"x"}}, "input.tags", "JSON has no set; send a list"),
    ({"z": 1j}, "input.z", "JSON has no complex; send None, a bool, int"),
    ({"by_id": {7: "x"}}, "input.by_id", "a key must be a string; got 7"),
    ({"at": time(12)}, "input.at", "JSON has no time; send a string, such as that of isoformat()"),
    ({"x"}, "input", "must be a dict; got set"),
    (set(), "input", "must be a dict; got set"),
    (["x"], "input", "must be a dict; got list"),
    ("", "input", "must be a dict; got str"),
    (b"x", "input", "must be a dict; got bytes"),
    (0, "input", "must be a dict; got int"),
    ({"a": UNSET}, "input.a.x", "must have a value"),
    ({"name": "\ud800"}, "input.name", "half of a surrogate pair"),
    (nested(MAX_DEPTH + 1), "input" + ".a" * MAX_DEPTH, "must have at most 24 levels of nesting"),
]


@pytest.mark.parametrize(("value", "path", "rule"), WRONG)
def test_what_a_struct_cannot_hold_is_refused_with_its_path(value: dict[str, Any], path: str, rule: str):
    with JobClient(NOWHERE) as client, pytest.raises(ValueError, match=rf"^{re.escape(path)}: .*{re.escape(rule)}"):
        client.create_job("k", input=value)
    with JobClient(NOWHERE) as client, pytest.raises(ValueError, match=re.escape(rule)) as refused:
        client.create_job("k", chunks=[{}, value])
    assert str(refused.value).startswith(path.replace("input", "chunks[1].input", 1))


def struct_of(number: float) -> Struct:
    message = Struct()
    message.fields["losses"].list_value.values.add().number_value = number
    return message


def test_messages_that_a_caller_made_are_examined_too():
    artifact = Artifact(uri="s3://b/k", metadata=struct_of(nan))
    with JobClient(NOWHERE) as client:
        with pytest.raises(ValueError, match=r"^input\.losses\[0\]: must be a finite number; got nan"):
            client.create_job("k", input=struct_of(nan))
        with pytest.raises(ValueError, match=r"^chunks\[0\]\.input\.losses\[0\]: must be a finite number; got inf"):
            client.create_job("k", chunks=[ChunkSpec(input=struct_of(inf))])
        with pytest.raises(ValueError, match=r"^stages\[1\]\.weight: must be a finite number; got nan"):
            client.create_job("k", stages={"a": 1.0, "b": nan})
        with pytest.raises(ValueError, match=r"^retry_policy\.multiplier: must be a finite number; got inf"):
            client.create_job("k", retry_policy=RetryPolicy(multiplier=inf))
        with pytest.raises(ValueError, match=r"^reports\[0\]\.progress\.percent: must be a finite number; got nan"):
            client.leases.heartbeat([LeaseReport(progress=ProgressReport(percent=nan))])
        with pytest.raises(
            ValueError,
            match=r"^reports\[0\]\.progress\.artifacts\.a\.metadata\.losses\[0\]: must be a finite number; got nan",
        ):
            client.leases.heartbeat([LeaseReport(progress={"artifacts": {"a": artifact}})])
        with pytest.raises(
            ValueError, match=r"^completions\[1\]\.progress\.job_artifacts\['a b'\]\.metadata\.losses\[0\]"
        ):
            client.leases.complete_chunks(["token", ChunkCompletion(progress={"job_artifacts": {"a b": artifact}})])


def test_a_time_outside_the_calendar_is_a_value_error():
    late = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))
    with JobClient(NOWHERE) as client, pytest.raises(ValueError, match="must be in the years 1 to 9999 of UTC"):
        client.create_job("k", expire_time=late)


NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_what_is_accepted_comes_back_as_it_was(value: dict[str, Any]):
    message = struct(value, "input")
    assert message is not None
    assert plain(Struct.FromString(message.SerializeToString())) == value


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"losses": [0.5, NaN]}', "input.losses[1]: must be a finite number; got nan"),
        ('{"loss": 1e999}', "input.loss: must be a finite number; got inf"),
        (
            '{"user": {"id": 9007199254740993}}',
            "input.user.id: must be within ±2**53 to be exact; got 9007199254740993",
        ),
        ("[" * 100_000, "--input: must have fewer levels of nesting"),
        ('{"a":' * 30 + "1" + "}" * 30, "must have at most 24 levels of nesting"),
    ],
)
def test_the_command_line_refuses_it_with_its_path(text: str, result: str, tmp_path: Path, capsys: Any):
    file = tmp_path / "input.json"
    file.write_text(text)
    assert run(["create", "k", "--input", f"@{file}", "--target", NOWHERE]) == 2
    assert result in capsys.readouterr().err


@pytest.mark.parametrize("span", ["9" * 400 + "d", "999999999999d"])
def test_spans_beyond_the_calendar_are_wrong_words_not_crashes(span: str, capsys: Any):
    assert run(["list", "--created-since", span, "--target", NOWHERE]) == 2
    assert run(["create", "k", "--expire", span, "--target", NOWHERE]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_imported_line_is_examined_before_it_is_sent(tmp_path: Path, capsys: Any):
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"job": {"kind": "k", "jobId": "a", "chunks": [{"input": {"ids": [9007199254740993]}}]}}\n')
    assert run(["import", str(file), "--target", NOWHERE]) == 2
    assert (
        "line 1: job.chunks[0].input.ids[0]: must be within ±2**53 to be exact; got 9007199254740993"
        in capsys.readouterr().err
    )
