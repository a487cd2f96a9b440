"""Exports as a test reads them: piece by piece, cut and resumed at will."""

import csv
import json
from collections.abc import AsyncIterator
from io import StringIO

from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest, ExportJobsResponse

from tests.support.api import Api

CSV = ExportFormat.EXPORT_FORMAT_CSV
JSON_LINES = ExportFormat.EXPORT_FORMAT_JSON_LINES


async def pieces(api: Api, **fields: object) -> AsyncIterator[ExportJobsResponse]:
    """Yield the pieces of an export; whoever stops early cuts it."""
    call = api.jobs.ExportJobs(ExportJobsRequest(**fields))
    try:
        async for piece in call:
            assert piece.data == b"" or piece.data.endswith(b"\n")
            assert 0 <= piece.percent <= 100
            yield piece
    finally:
        call.cancel()


async def export(api: Api, **fields: object) -> str:
    """Return a whole export."""
    got = [piece async for piece in pieces(api, **fields)]
    assert [piece.resume_token for piece in got if not piece.resume_token] == [""], "the last piece alone has no token"
    assert not got[-1].resume_token
    assert got[-1].percent == 100
    assert len({piece.cursor for piece in got}) == 1
    return b"".join(piece.data for piece in got).decode()


def csv_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV export by the names in its header."""
    return list(csv.DictReader(StringIO(text, newline=""), strict=True))


def json_rows(text: str) -> list[dict[str, object]]:
    """Return the rows of a JSON Lines export."""
    return [json.loads(line) for line in text.splitlines()]
