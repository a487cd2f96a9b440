"""A hostile second owner: calls every public method and both watches, with anything, and on its neighbours' names."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.fuzz.findings import Finding
from tests.fuzz.hostile import Hostile
from tests.fuzz.memory import Memory, Value, name_of
from tests.fuzz.methods import Target, served
from tests.torture.recorder import OPTIONS, HistoryWriter

STOLEN = {"job_id", "uid", "lease_token", "cursor", "page_token", "etag", "task_id", "key_id", "webhook_id"}
"""Names of the fields whose values are taken from neighbours, as if they had leaked."""
KEPT = 30
AIMED = 0.5
"""The share of its requests that are about a neighbour's names."""
PAUSE = 0.02
"""Seconds between two of its requests: it is to be hostile, not to be all the load."""
STAY = 10.0
"""Seconds at one server."""
EXPECTED = ("UNAVAILABLE of a server that is well", "no answer")
"""Findings of the fuzzer that faults explain."""


class Loot:
    """What was seen in the answers to the neighbours, by the name of the field."""

    def __init__(self) -> None:
        self.values: dict[str, deque[Value]] = defaultdict(lambda: deque(maxlen=KEPT))

    def take(self, message: Message) -> None:
        """Keep the names in a message."""
        for field, value in message.ListFields():
            name = name_of(field)
            if field.message_type is not None:
                if not field.message_type.GetOptions().map_entry:
                    for inner in list(value)[:3] if field.is_repeated else (value,):
                        self.take(inner)
            elif name in STOLEN:
                self.values[name].append(value[0] if field.is_repeated else value)


class Neighbour(Hostile):
    """A hostile caller whose every call is recorded."""

    def __init__(
        self, token: str, mark: str, secrets: list[bytes], rng: Random, loot: Loot, writer: HistoryWriter
    ) -> None:
        """`secrets` are texts of the neighbours that no answer may have."""
        memory = Memory(rng, (), loot.values)
        super().__init__("mallory", token, rng, memory, mark, secrets, self._keep_defect)
        self._loot = loot
        self._writer = writer
        self._call_id = ""

    async def attack(self, target_of_any: Callable[[], str], goes_on: Callable[[], bool]) -> None:
        """Attack one server after another for as long as it goes on: every method on a neighbour's names, then any."""
        loop, targets = asyncio.get_running_loop(), list[Target]()
        while goes_on():
            server, leaving = target_of_any(), loop.time() + STAY
            try:
                targets = targets or await asyncio.to_thread(served, server)
            except grpc.RpcError:
                continue
            async with grpc.aio.insecure_channel(server, options=OPTIONS) as channel:
                for target in targets if goes_on() else ():
                    await self.send(channel, target, self._aimed(target))
            await self.run(server, targets, lambda leaving=leaving: goes_on() and loop.time() < leaving)

    async def send(self, channel: grpc.aio.Channel, target: Target, given: bytes | None = None) -> None:
        """Send one request and record it."""
        if given is None and self._rng.random() < AIMED:
            given = self._aimed(target)
        self._call_id = self._writer.next_id()
        request = {"bytes": given.hex()[:400]} if given is not None else {}
        self._writer.write(
            "call", call_id=self._call_id, owner="mallory", client="mallory", method=target.descriptor.name,
            request=request,
        )  # fmt: skip
        await super().send(channel, target, given)
        await asyncio.sleep(PAUSE)

    def _aimed(self, target: Target) -> bytes:
        """Return a plausible request in which every name is a neighbour's."""
        message = self._generator.plausible(target.descriptor.input_type)
        for inner in _all_messages(message):
            for field in inner.DESCRIPTOR.fields:
                self._aim(inner, field)
        return message.SerializeToString()

    def _aim(self, message: Message, field: FieldDescriptor) -> None:
        if name_of(field) == "owner" and not field.is_repeated and self._rng.random() < 0.3:
            message.owner = "alice"
        known = self._loot.values.get(name_of(field))
        if not known or field.containing_oneof is not None or field.message_type is not None:
            return
        value: Any = self._rng.choice(known)
        if field.is_repeated:
            del getattr(message, field.name)[:]
            getattr(message, field.name).append(value)
        elif isinstance(value, bytes if field.type == FieldDescriptor.TYPE_BYTES else str):
            setattr(message, field.name, value)

    def _note(self, target: Target, outcome: str) -> None:
        super()._note(target, outcome)
        code = "CANCELLED" if outcome == "LEFT" else outcome
        self._writer.write("end", call_id=self._call_id, code=code, reason="", response={})

    def _keep_defect(self, finding: Finding) -> None:
        if finding.what not in EXPECTED:
            self._writer.write("defect", line=finding.shown())


def _all_messages(message: Message) -> Iterator[Message]:
    """Yield a message and all within it, but those of maps."""
    yield message
    for field, value in list(message.ListFields()):
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else (value,):
                yield from _all_messages(inner)
