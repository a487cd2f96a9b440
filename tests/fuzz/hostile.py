"""A caller who sends anything to everything, keeps what comes back, and judges each answer and refusal."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from random import Random
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson, SerializeToJsonError
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.job_pb2 import JobView
from jobledger.v1.job_service_pb2 import ListJobsRequest

from tests.fuzz.findings import Finding, judged, told, words_of
from tests.fuzz.memory import Memory
from tests.fuzz.messages import Generator
from tests.fuzz.methods import Target
from tests.support.bounds import BOUND

READ = 6
"""Messages that are read of a stream."""
HELD = 0.15
"""Seconds for which a call that waits is held open."""
READS = ("Get", "List", "Watch", "Export", "BatchGet")
"""How the names of methods begin that change nothing."""
OTHERS = (b"bystander", b"mallory", b"ally")
"""Owners whom an admin may name, and then is told what they have."""
HEADERS = (
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("traceparent", "00-zz"),
    ("traceparent", "x" * 1_000), ("x-request-id", "r" * 3_000), ("x-request-id", "%s{0}"), ("tracestate", "a=b"),
    ("authorization", "Bearer nonsense"), ("authorization", "Basic YTpi"), ("x-odd-bin", b"\x00\xff"),
    ("grpc-timeout", "1n"), ("user-agent", ""),
)  # fmt: skip

ENOUGH = 12
"""Calls for each method, after which each has been called."""


class Hostile:
    """One caller with a key of his own, who sends one request after another."""

    def __init__(
        self,
        name: str,
        token: str,
        rng: Random,
        memory: Memory,
        mark: str,
        secrets: Sequence[bytes],
        report: Callable[[Finding], None],
        *,
        reads_others: bool = False,
    ) -> None:
        """`secrets` are those of others; one who `reads_others`, an admin, may be told them.

        That is when he names an owner, or asks for all.
        """
        self.name = name
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._token = token
        self._rng = rng
        self._memory = memory
        self._generator = Generator(rng, memory, mark)
        self._secrets = secrets
        self._report = report
        self._reads_others = reads_others

    @property
    def calls(self) -> int:
        """Return how many requests he sent."""
        return self.outcomes.total()

    async def run(self, server: str, targets: Sequence[Target], goes_on: Callable[[], bool]) -> None:
        """Call all methods, in another order each time, for as long as it goes on."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        options += [("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", self.name)]
        called: set[str] = set()
        async with grpc.aio.insecure_channel(server, options) as channel:
            while True:
                for target in self._rng.sample(targets, len(targets)):
                    if target.destroys and target.path in called and self._rng.random() < 0.7:
                        continue
                    called.add(target.path)
                    for _ in range(self._rng.choice((1, 1, 2, 4)) * (4 if target.makes else 1)):
                        await self.send(channel, target)
                    if not goes_on():
                        return

    async def read_back(self, server: str, targets: Sequence[Target]) -> None:
        """Read all that was stored, in each form: what can be stored can be shown."""
        requests = {
            "ListJobs": [ListJobsRequest(page_size=500, view=JobView.JOB_VIEW_FULL)],
            "ExportJobs": [ExportJobsRequest(format=form) for form in ExportFormat.values()[1:]],
        }
        async with grpc.aio.insecure_channel(server, [("grpc.max_receive_message_length", -1)]) as channel:
            for target in targets:
                for request in requests.get(target.descriptor.name, ()):
                    await self.send(channel, target, request.SerializeToString())

    async def send(self, channel: grpc.aio.Channel, target: Target, given: bytes | None = None) -> None:
        """Send one request, the given one or any, and judge what comes of it."""
        requests = [given] if given is not None else self._requests(target)
        try:
            for raw in await self._answers(channel, target, requests):
                self._heard(target, requests, raw)
            self._memory.worked(target.path, requests[0])
            self._note(target, "OK")
        except grpc.aio.AioRpcError as error:
            self._note(target, error.code().name)
            wrong = judged(error, target)
            if wrong:
                self._found(target, wrong, f"{error.code().name}: {error.details()}", requests)
            if told(words_of(error), self._secrets):
                self._found(target, "another owner's data in a refusal", str(error.details()), requests)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            self._note(target, "LEFT")

    def _requests(self, target: Target) -> list[bytes]:
        """Return a request, or some for a stream of them."""
        many = self._rng.randint(0, 3) or 1 if target.descriptor.client_streaming else 1
        requests = [self._generator.request(target.path, target.descriptor.input_type) for _ in range(many)]
        if self._reads_others and not target.descriptor.name.startswith(READS):
            # an admin who acts for the bystander may harm him by right
            return [raw.replace(b"bystander", b"the-other") for raw in requests]
        return requests

    def _metadata(self) -> list[tuple[str, Any]]:
        key = ("authorization", f"Bearer {self._token}")
        if self._rng.random() > 0.05:
            return [key]
        odd = self._rng.choice(HEADERS)
        return [odd] if odd[0] == "authorization" else [key, odd]

    async def _answers(self, channel: grpc.aio.Channel, target: Target, requests: list[bytes]) -> list[bytes]:
        """Make the call; return the answers that came before it was ended, by whomever."""
        metadata = self._metadata()
        bound = HELD if target.waits else BOUND
        match target.streams:
            case False, False:
                call = channel.unary_unary(target.path)(requests[0], metadata=metadata, timeout=bound)
                if self._rng.random() < 0.02:
                    asyncio.get_running_loop().call_later(self._rng.random() * 0.01, call.cancel)
                return [await call]
            case True, False:
                # A stream of requests that never ends is given up by us.
                return [await channel.stream_unary(target.path)(iter(requests), metadata=metadata, timeout=BOUND)]
            case False, True:
                return await _some(channel.unary_stream(target.path)(requests[0], metadata=metadata))
            case _:
                return await _some(channel.stream_stream(target.path)(iter(requests), metadata=metadata))

    def _heard(self, target: Target, requests: list[bytes], raw: bytes) -> None:
        if told(raw, self._secrets):
            if not (self._reads_others and any(_asks_for_others(target, request) for request in requests)):
                self._found(target, "another owner's data in an answer", repr(raw[:200]), requests)
            return  # what was learnt from it would come back in his own data
        try:
            answer = GetMessageClass(target.descriptor.output_type).FromString(raw)
        except DecodeError:
            self._found(target, "an answer that cannot be decoded", repr(raw[:200]), requests)
            return
        try:
            MessageToJson(answer)
        except (SerializeToJsonError, ValueError) as error:
            self._found(target, "an answer that JSON cannot say", str(error), requests)
        self._memory.note(answer)
        if not target.descriptor.client_streaming:
            with suppress(DecodeError):
                request = GetMessageClass(target.descriptor.input_type).FromString(requests[0])
                self._memory.go_on(target.path, request, answer)

    def _note(self, target: Target, outcome: str) -> None:
        self.outcomes[target.path, outcome] += 1

    def _found(self, target: Target, what: str, detail: str, requests: list[bytes]) -> None:
        self._report(Finding(target.path, what, detail, requests[0], self.name))


async def _some(call: Any) -> list[bytes]:
    """Return the first answers of a stream, then leave it; raises how it ended, if that was before."""
    answers: list[bytes] = []
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(HELD):
                for _ in range(READ):
                    raw = await call.read()
                    if raw is grpc.aio.EOF:
                        break
                    answers.append(raw)
        return answers
    finally:
        call.cancel()


def unreached(hostiles: Sequence[Hostile], targets: Sequence[Target]) -> Iterator[str]:
    """Yield the methods that nobody called; none when so few calls were made that chance alone leaves some out."""
    if sum(one.calls for one in hostiles) < ENOUGH * len(targets):
        return iter(())
    called = {path for one in hostiles for path, _ in one.outcomes}
    return (target.path for target in targets if target.path not in called)


def most_common(hostiles: Sequence[Hostile], limit: int) -> str:
    """Return how the calls ended, the most frequent first."""
    codes: Counter[str] = Counter()
    for one in hostiles:
        for (_, code), count in one.outcomes.items():
            codes[code] += count
    return ", ".join(f"{code} {count}" for code, count in islice(codes.most_common(), limit))


def _asks_for_others(target: Target, request: bytes) -> bool:
    """Whether a request names another owner, or asks for all."""
    if any(owner in request for owner in OTHERS):
        return True
    try:
        read = GetMessageClass(target.descriptor.input_type).FromString(request)
    except DecodeError:
        return False
    return bool(getattr(getattr(read, "filter", None), "all_owners", False))
