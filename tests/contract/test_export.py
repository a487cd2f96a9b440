"""ExportJobs: the formats, the columns, the filter, and what is refused; that it is pinned has a file of its own."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.exports import CSV, JSON_LINES, csv_rows, export, json_rows, pieces
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING


def rfc_3339(time: Timestamp) -> str:
    """Return a time as an export writes it."""
    return f"{time.ToDatetime().isoformat(timespec='microseconds')}Z"


async def one_row(api: Api, kind: str, format: int = JSON_LINES, **fields: object) -> dict:  # noqa: A002 - the field
    """Return the only row of an export of a kind."""
    text = await export(api, filter={"kinds": [kind]}, format=format, **fields)
    [row] = csv_rows(text) if format == CSV else json_rows(text)
    return row


async def test_a_csv_is_as_rfc_4180_has_it(api: Api, kind: str):
    name = 'a "film", or\nnot \N{SNOWMAN}'
    await api.create(kind, display_name=name)
    text = await export(api, filter={"kinds": [kind]}, format=CSV, columns=["display_name", "priority", "state"])
    assert text == 'display_name,priority,state\r\n"a ""film"", or\nnot \N{SNOWMAN}",5,QUEUED\r\n'


async def test_json_lines_are_one_object_a_line(api: Api, kind: str):
    await api.create(kind, display_name="a\nb", labels={"b": "2", "a": "1"})
    columns = ["labels", "display_name", "stage_percent"]
    text = await export(api, filter={"kinds": [kind]}, format=JSON_LINES, columns=columns)
    assert text == '{"labels":{"a":"1","b":"2"},"display_name":"a\\nb","stage_percent":null}\n'


async def test_every_column_reports_what_the_job_reports(api: Api, kind: str):
    job_id = (
        await api.create(
            kind,
            display_name="Film",
            priority=7,
            labels={"team": "search"},
            item_count=4,
            run_timeout=timedelta(minutes=1.5),
            unique_key="nightly",
        )
    ).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, percent=50, stage="decode", stage_percent=25, message="half")
    artifact = {"uri": "s3://b/k", "content_type": "image/png", "size_bytes": 9}
    artifact["metadata"] = {"pages": 3, "language": "en"}
    await api.complete(claimed, progress={"job_artifacts": {"preview": artifact}}, result_uri="s3://b/result")
    job = await api.get(job_id)

    row = await one_row(api, kind)
    times = {name: row.pop(name) for name in ("create_time", "start_time", "update_time", "end_time")}
    assert times == {name: rfc_3339(getattr(job, name)) for name in times}
    seconds = (job.start_time.ToMicroseconds() - job.create_time.ToMicroseconds()) / 1e6
    assert row.pop("waiting_seconds") == pytest.approx(seconds, abs=1e-6)
    seconds = (job.end_time.ToMicroseconds() - job.start_time.ToMicroseconds()) / 1e6
    assert row.pop("processing_seconds") == pytest.approx(seconds, abs=1e-6)
    [timing] = row.pop("stage_timings")
    assert (timing["stage"], timing["end_time"]) == ("decode", rfc_3339(job.stage_timings[0].end_time))
    assert timing["seconds"] == pytest.approx(job.stage_timings[0].duration.ToMicroseconds() / 1e6)
    assert row == {
        "job_id": job_id, "owner": "default", "kind": kind, "display_name": "Film", "state": "COMPLETED", "priority": 7,
        "percent": 100, "stage": "decode", "stage_percent": 25, "message": "half", "items_completed": 4,
        "items_total": 4, "chunks_total": 1, "chunks_pending": 0, "chunks_processing": 0, "chunks_completed": 1,
        "chunks_failed": 0, "chunks_cancelled": 0, "labels": {"team": "search"}, "expire_time": None, "retry_count": 0,
        "result_uri": "s3://b/result", "error_code": None, "error_message": None, "error_stage": None,
        "error_chunk_index": None, "cancel_reason": "", "revision": job.revision,
        "schedule_time": None, "unique_key": "nightly", "run_timeout_seconds": 90, "attempt_timeout_seconds": None,
        "export_error": None, "uid": job.uid,
        "artifacts": {
            "preview": {
                "uri": "s3://b/k", "content_type": "image/png", "size_bytes": 9,
                "metadata": {"language": "en", "pages": 3},
                "create_time": rfc_3339(job.artifacts["preview"].create_time),
            }
        },
    }  # fmt: skip


async def test_a_failure_and_a_cancellation_are_reported(api: Api, kind: str):
    await api.job_in(FAILED, kind, chunks=[{}, {}], failure_policy="FAILURE_POLICY_FAIL_FAST")
    failed = await one_row(api, kind, CSV)
    assert (failed["state"], failed["error_code"], failed["error_chunk_index"]) == ("FAILED", "BOOM", "0")
    await api.retry(failed["job_id"])
    await api.cancel(failed["job_id"], reason="enough")
    row = await one_row(api, kind, CSV)
    assert (row["state"], row["cancel_reason"], row["retry_count"]) == ("CANCELLED", "enough", "1")
    assert {row[name] for name in ("error_code", "error_chunk_index", "start_time", "waiting_seconds")} == {""}
    assert row["end_time"]


async def test_labels_get_columns_of_their_own(api: Api, kind: str):
    await api.create(kind, labels={"team": "search", "cost/center": "7"})
    wanted = {"columns": ["job_id"], "label_columns": ["cost/center", "absent"]}
    assert list((await one_row(api, kind, CSV, **wanted)).items())[1:] == [
        ("label.cost/center", "7"),
        ("label.absent", ""),
    ]
    row = await one_row(api, kind, **wanted)
    assert (row["label.cost/center"], row["label.absent"]) == ("7", None)


async def test_a_cell_that_looks_like_a_formula_is_guarded(api: Api, kind: str):
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\ufeff=1", " \u200b-1"]
    for text in texts:
        await api.create(kind, display_name=text, labels={"l": text})
    wanted = {"filter": {"kinds": [kind]}, "columns": ["display_name", "chunks_failed"], "label_columns": ["l"]}
    assert csv_rows(await export(api, format=CSV, **wanted)) == [
        {"display_name": f"'{text}", "chunks_failed": "0", "label.l": f"'{text}"} for text in texts
    ]
    assert [row["display_name"] for row in json_rows(await export(api, format=JSON_LINES, **wanted))] == texts


async def test_other_cells_are_as_they_are(api: Api, kind: str):
    texts = ["1=1", "a-b", "'=1", "", " ", '"=1']
    for text in texts:
        await api.create(kind, display_name=text)
    rows = csv_rows(await export(api, filter={"kinds": [kind]}, format=CSV))
    assert [row["display_name"] for row in rows] == texts


async def test_the_filter_picks_and_the_oldest_come_first(api: Api, kind: str):
    first = await api.job_in(COMPLETED, kind, display_name="night train")
    await api.job_in(CANCELLED, kind, display_name="night train")
    await api.job_in(RUNNING, kind, display_name="day train")
    last = await api.job_in(QUEUED, kind, display_name="night bus")
    filter_ = {"kinds": [kind], "states": [QUEUED, RUNNING, COMPLETED], "search": "nigh"}
    rows = json_rows(await export(api, filter=filter_, format=JSON_LINES))
    assert [row["job_id"] for row in rows] == [first.job_id, last.job_id]
    span = {"start_time": first.create_time, "end_time": last.create_time}
    filter_ = {"kinds": [kind], "create_time": span}
    rows = json_rows(await export(api, filter=filter_, format=JSON_LINES))
    assert [row["state"] for row in rows] == ["COMPLETED", "CANCELLED", "RUNNING"]


async def test_an_export_of_nothing_is_a_header_alone(api: Api, kind: str):
    # On a slow machine pieces without data come before the last, to tell how far it is.
    given = [piece async for piece in pieces(api, filter={"kinds": [kind]}, format=CSV, columns=["job_id"])]
    assert b"".join(piece.data for piece in given) == b"job_id\r\n"
    assert {piece.row_count for piece in given} == {0}
    assert (given[-1].resume_token, given[-1].percent) == ("", 100)
    assert await export(api, filter={"kinds": [kind]}, format=JSON_LINES) == ""


async def test_a_request_that_breaks_a_rule_is_refused(api: Api):
    with invalid("format"):
        await export(api)
    with invalid("format"):
        await export(api, format=9)
    with invalid("columns[1]", "columns[2]", "columns"):
        await export(api, format=CSV, columns=["state", "stat", "=x", "state"])
    with invalid("columns"):
        await export(api, format=CSV, columns=["job_id"] * 10_000)
    with invalid("label_columns[0]", "label_columns"):
        await export(api, format=CSV, label_columns=["a b", "c", "c"])
    with invalid("filter.kinds[0]"):
        await export(api, format=CSV, filter={"kinds": ["No"]})


async def test_the_nearest_column_is_named(api: Api):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(api, format=CSV, columns=["displayname"])
    assert "value 'displayname' must be the name of a column; the nearest is 'display_name'" in caught.value.details()


async def test_a_token_fits_no_other_request(api: Api, kind: str):
    for _ in range(40):
        await api.create(kind, display_name="x" * 1_000, labels={f"l{n}": "y" * 255 for n in range(10)})
    request = {"filter": {"kinds": [kind]}, "format": JSON_LINES}
    async for piece in pieces(api, **request):
        token = piece.resume_token
        break
    assert token
    for other in ({"format": CSV}, {"filter": {"kinds": [kind], "states": [QUEUED]}}, {"label_columns": ["a"]}):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "resume_token"):
            await export(api, **request | other, resume_token=token)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "resume_token"):
        await export(api, **request, resume_token="nonsense")
