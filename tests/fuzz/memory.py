"""What a hostile caller has seen: strings and bytes of answers by the name of their field, and requests that worked."""

from collections import defaultdict, deque
from collections.abc import Container, Iterator
from random import Random

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

KEPT = 40
"""Values of each name, and requests of each method: the newest."""
ALIASES = {"next_page_token": "page_token", "missing_job_ids": "job_id"} | {
    f"start_{name}_id": f"{name}_id" for name in ("server", "socket", "channel")
}
"""Names under which an answer has what a request asks for under another."""
Value = str | bytes | int
PLACES = {"next_page_token": "page_token", "resume_token": "resume_token"}
"""Fields of answers that a request goes on from, and the fields of requests that they go into."""


def name_of(field: FieldDescriptor) -> str:
    """Return the name under which values of a field are kept: that of one of them."""
    if field.name == "token" and field.containing_type.name == "Lease":
        return "lease_token"
    name = ALIASES.get(field.name, field.name)
    return name.removesuffix("s") if field.is_repeated else name


class Memory:
    """Handles to put back into requests. Those of `protected` keys are not kept: their holders go on working."""

    def __init__(self, rng: Random, protected: Container[str], stolen: dict[str, deque[Value]]) -> None:
        self._rng = rng
        self._protected = protected
        self._stolen = stolen
        self._seen: dict[str, deque[Value]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._worked: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=KEPT))

    def note(self, message: Message) -> None:
        """Keep what an answer tells."""
        for name, value in _texts(message):
            if value and value not in self._protected:
                self._seen[name].append(value)

    def worked(self, method: str, request: bytes) -> None:
        """Keep a request that was accepted."""
        self._worked[method].append(request)

    def go_on(self, method: str, request: Message, answer: Message) -> None:
        """Keep the request that goes on where an answer ended, if there is one."""
        for reported, requested in PLACES.items():
            known = reported in answer.DESCRIPTOR.fields_by_name and requested in request.DESCRIPTOR.fields_by_name
            if known and (token := getattr(answer, reported)):
                setattr(request, requested, token)
                self.worked(method, request.SerializeToString())

    def request(self, method: str) -> bytes | None:
        """Return a request of a method that was accepted, if there was one."""
        return self._rng.choice(known) if (known := self._worked[method]) else None

    def value(self, name: str) -> Value | None:
        """Return something that was seen under a name; now and then it is another owner's."""
        stolen = self._stolen.get(name)
        known = stolen if stolen and self._rng.random() < 0.15 else self._seen.get(name)
        if not known:
            return None
        newest = list(known)[-4:]  # of leases, those that most probably hold
        return self._rng.choice(newest if self._rng.random() < 0.5 else known)


def _texts(message: Message) -> Iterator[tuple[str, Value]]:
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        else:
            values = value if field.is_repeated else (value,)
        for one in list(values)[:KEPT]:
            if isinstance(one, Message):
                yield from _texts(one)
            elif (isinstance(one, str | bytes) and len(one) < 4_096) or (
                type(one) is int and field.name.endswith("_id")
            ):
                yield name_of(field), one
