"""Replies that are not the message that they should be are a typed error; a worker goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from jobledger.v1 import worker_service_pb2 as rpc
from jobledger_client import AsyncJobClient, ChunkContext, ExportFormat, InvalidReplyError, JobClient, Worker
from jobledger_client.cli._main import run

from tests.support.bounds import BOUND, CALL_TIMEOUT

JUNK = b"\xff\xff\xff"
Play = Callable[..., Awaitable[str]]


class Ending(Exception):  # noqa: N818 - the end of a call
    """Ends a call as a proxy or a broken service does: by a code without a reason of the service."""

    def __init__(self, code: grpc.StatusCode, status: bytes | None = None) -> None:
        self.code = code
        self.trailers = () if status is None else (("grpc-status-details-bin", status),)


def with_detail(detail: Any) -> bytes:
    """Return the status of an unavailable service with a detail."""
    return status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], details=[detail]).SerializeToString()


def retry_in(seconds: int) -> AnyMessage:
    detail = AnyMessage()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds)))
    return detail


UNREADABLE_INFO = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=JUNK)
ENDINGS = {
    "CANCELLED": Ending(grpc.StatusCode.CANCELLED),
    "INTERNAL": Ending(grpc.StatusCode.INTERNAL),
    "UNKNOWN": Ending(grpc.StatusCode.UNKNOWN),
    "junk in place of the status": Ending(grpc.StatusCode.UNAVAILABLE, JUNK),
    "junk in place of a detail": Ending(grpc.StatusCode.UNAVAILABLE, with_detail(UNREADABLE_INFO)),
    "a time beyond any": Ending(grpc.StatusCode.UNAVAILABLE, with_detail(retry_in(2**62))),
    "no results": None,
}


class Player(grpc.GenericRpcHandler):
    """Answers every method with what `answers` says, else with junk."""

    def __init__(self, answers: dict[str, Callable[[bytes], bytes]]) -> None:
        self._answers = answers

    def service(self, handler_call_details: grpc.HandlerCallDetails):
        name = handler_call_details.method.rpartition("/")[2]
        if name in ("WatchJob", "WatchJobs", "ExportJobs"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        answer = self._answers.get(name, lambda _: JUNK)

        async def unary(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return answer(request)
            except Ending as ending:
                await context.abort(ending.code, "the stream was reset", ending.trailers)

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _stream(self, _: bytes, context: grpc.aio.ServicerContext) -> None:
        await context.write(JUNK)
        await context.write(JUNK)


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Return a function that starts a server on a real port and returns its address."""
    started = []

    async def start(**answers: Callable[[bytes], bytes]) -> str:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Player(answers)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        started.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in started:
        await server.stop(None)


async def test_a_reply_that_cannot_be_decoded_is_a_typed_error(play: Play):
    async with AsyncJobClient(await play(), timeout=CALL_TIMEOUT) as client:
        for call in (
            lambda: client.get_job("x"),
            lambda: client.create_job("k"),
            lambda: client.leases.claim_chunks(["k"], worker="w"),
            lambda: client.list_jobs().page(),
            lambda: client.watch("x").__anext__(),
            lambda: client.watch_jobs().__anext__(),
            lambda: client.exports.export_jobs(ExportFormat.CSV).__anext__(),
        ):
            with pytest.raises(InvalidReplyError, match="cannot be decoded") as failed:
                await call()
            assert failed.value.code is grpc.StatusCode.INTERNAL
            assert failed.value.attempts == 1


async def test_so_it_is_for_the_synchronous_client_and_the_command_line(play: Play, capsys: pytest.CaptureFixture[str]):
    target = await play()

    def calls() -> None:
        with JobClient(target, timeout=CALL_TIMEOUT) as client:
            for call in (
                lambda: client.get_job("x"),
                lambda: next(client.watch("x")),
                lambda: next(client.exports.export_jobs(ExportFormat.CSV)),
            ):
                with pytest.raises(InvalidReplyError, match="cannot be decoded"):
                    call()

    await asyncio.to_thread(calls)
    capsys.readouterr()
    assert await asyncio.to_thread(run, ["get", "x", "--target", target]) == 70
    assert capsys.readouterr().err.splitlines()[-1].startswith("jobledger: the reply cannot be decoded")


async def test_a_worker_continues_after_a_claim_that_it_cannot_decode(play: Play):
    claims, done = 0, asyncio.Event()

    def claim(_: bytes) -> bytes:
        nonlocal claims
        claims += 1
        if claims == 1:
            return JUNK
        found = rpc.ClaimChunksResponse()
        if claims == 2:
            chunk = found.chunks.add(job_id="j", kind="k")
            chunk.lease.token = "t"
        return found.SerializeToString()

    def complete(raw: bytes) -> bytes:
        tokens = [one.lease_token for one in rpc.CompleteChunksRequest.FromString(raw).completions]
        if tokens == ["t"]:
            done.set()
        results = [rpc.LeaseResult(lease_token=token, status=rpc.LEASE_STATUS_OK) for token in tokens]
        return rpc.CompleteChunksResponse(results=results).SerializeToString()

    worker = Worker(await play(ClaimChunks=claim, CompleteChunks=complete))

    @worker.handler("k")
    async def handler(_: ChunkContext) -> None:
        pass

    serving = asyncio.create_task(worker.serve())
    async with asyncio.timeout(BOUND):
        await done.wait()
    worker.stop()
    await serving


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_worker_repeats_what_was_cut_off_and_loses_no_finished_work(play: Play, ending: str):
    calls: dict[str, int] = {}
    done = asyncio.Event()

    def cut_off_first(name: str) -> bool:
        calls[name] = calls.get(name, 0) + 1
        if calls[name] == 1 and (error := ENDINGS[ending]) is not None:
            raise error
        return calls[name] == 1

    def claim(_: bytes) -> bytes:
        found = rpc.ClaimChunksResponse()
        if not cut_off_first("ClaimChunks") and calls["ClaimChunks"] == 2:
            found.chunks.add(job_id="j", kind="k").lease.token = "t"
        return found.SerializeToString()

    def complete(raw: bytes) -> bytes:
        if cut_off_first("CompleteChunks"):
            return b""
        tokens = [one.lease_token for one in rpc.CompleteChunksRequest.FromString(raw).completions]
        done.set()
        results = [rpc.LeaseResult(lease_token=token, status=rpc.LEASE_STATUS_OK) for token in tokens]
        return rpc.CompleteChunksResponse(results=results).SerializeToString()

    worker = Worker(await play(ClaimChunks=claim, CompleteChunks=complete))
    runs = 0

    @worker.handler("k")
    async def handler(_: ChunkContext) -> None:
        nonlocal runs
        runs += 1

    serving = asyncio.create_task(worker.serve())
    async with asyncio.timeout(BOUND):
        await asyncio.wait([serving, asyncio.ensure_future(done.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert (done.is_set(), runs, calls["CompleteChunks"]) == (True, 1, 2)
    worker.stop()
    await serving
