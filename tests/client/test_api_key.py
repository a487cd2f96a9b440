"""The API key of the SDK and the command line: where it comes from, and where it is not seen."""

import logging

import grpc
import pytest
from jobledger.v1.job_service_pb2 import GetJobResponse
from jobledger_client import JobClient, UnauthenticatedError, Worker
from jobledger_client.cli._session import Options

from tests.client.controlled import Played

KEY = "jl_0123456789ab_" + "5ec2e7" * 10 + "5ec2"


def sent(service: Played) -> list[tuple[str, str]]:
    """Return the authorization that goes with a call."""
    got = service.start(lambda client: client.get_job("one"))
    metadata, _, call = service.take("GetJob")
    call.terminate(GetJobResponse(), (), grpc.StatusCode.OK, "")
    got.result()
    return [pair for pair in metadata if pair[0] == "authorization"]


def test_the_key_of_the_environment_is_taken_unless_there_is_another(monkeypatch: pytest.MonkeyPatch):
    assert sent(Played()) == []
    monkeypatch.setenv("JOBLEDGER_API_KEY", "from-outside")
    assert sent(Played()) == [("authorization", "Bearer from-outside")]
    assert sent(Played(api_key=KEY)) == [("authorization", f"Bearer {KEY}")]
    assert sent(Played(api_key="")) == []
    assert sent(Played(metadata={"Authorization": "Basic x"})) == [("authorization", "Basic x")]
    assert sent(Played(metadata=lambda: [("authorization", "Bearer anew")])) == [("authorization", "Bearer anew")]


def test_the_key_is_neither_shown_nor_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    service = Played(api_key=KEY)
    got = service.start(lambda client: client.get_job("one"))
    service.refuse("GetJob", grpc.StatusCode.UNAUTHENTICATED)
    error = got.exception()
    assert type(error) is UnauthenticatedError
    with JobClient("127.0.0.1:1", api_key=KEY) as client:
        shown = [repr(one) for one in (client, vars(client), Worker(api_key=KEY), Options(api_key=KEY), error)]
    assert KEY not in "".join([*shown, str(error), caplog.text])
