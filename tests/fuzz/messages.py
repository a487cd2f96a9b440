"""Requests of any shape, from the descriptors alone: plausible ones, the same with some odd values, and bytes."""

from contextlib import suppress
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tests.fuzz import values
from tests.fuzz.memory import Memory, name_of

REQUIRED = {
    "job_id", "job_ids", "kind", "kinds", "worker", "code", "error", "uri", "url", "update_mask", "priority", "scope",
    "job", "jobs", "max_running", "reports", "completions", "failures", "releases", "lease_token", "lease_tokens",
    "format", "artifacts", "metadata", "name", "roles", "key_id", "webhook_id", "delivery_id", "index", "state",
    "progress", "input", "requests", "claim",
}  # fmt: skip
"""Names of fields without which a request is mostly refused at once."""
MAX_DEPTH = 6
LIMIT = 4 * 1024 * 1024
"""Bytes that a server takes by default."""


class Generator:
    """Makes requests of one caller; `mark` is in many of his texts."""

    def __init__(self, rng: Random, memory: Memory, mark: str) -> None:
        self._rng = rng
        self._memory = memory
        self._mark = mark
        self._density = 0.5

    def request(self, method: str, descriptor: Descriptor) -> bytes:
        """Return one encoded request: valid, mutated, or random."""
        luck = self._rng.random()
        if luck < 0.04:
            return self._rng.randbytes(self._rng.choice((0, 1, 3, 20, 200, 5_000)))
        if luck < 0.12:
            return values.mutated_bytes(self._rng, self._memory.request(method) or self._encoded(descriptor))
        if luck < 0.125:
            return self._huge(descriptor)
        if luck < 0.14:
            return self._encoded(descriptor) + self._deep(descriptor, self._rng.choice((23, 24, 25, 33, 50, 300)))
        message = self._known(method, descriptor) if luck < 0.4 else self.plausible(descriptor)
        for _ in range(self._rng.choice((0, 0, 0, 1, 1, 2, 4))):
            self._spoil(message)
        return _encode(message)

    def _encoded(self, descriptor: Descriptor) -> bytes:
        return _encode(self.plausible(descriptor))

    def _known(self, method: str, descriptor: Descriptor) -> Message:
        """Return a request that was accepted before, or goes on after it; now and then from another place."""
        message = GetMessageClass(descriptor)()
        with suppress(DecodeError):
            message.MergeFromString(self._memory.request(method) or self._encoded(descriptor))
        for name in ("page_token", "resume_token", "cursor"):
            if name in descriptor.fields_by_name and self._rng.random() < 0.2:
                self._set(message, descriptor.fields_by_name[name])
        return message

    def plausible(self, descriptor: Descriptor) -> Message:
        """Return a message that may well be accepted."""
        self._density = self._rng.choice((0.0, 0.0, 0.15, 0.4, 0.8))
        return self._message(descriptor, 0)

    def _message(self, descriptor: Descriptor, depth: int) -> Message:
        message = GetMessageClass(descriptor)()
        match descriptor.full_name:
            case "google.protobuf.Timestamp" | "google.protobuf.Duration":
                timestamp = descriptor.name == "Timestamp"
                message.seconds = values.plausible_seconds(self._rng, timestamp=timestamp)
            case "google.protobuf.Struct" if self._rng.random() < 0.2:
                _fill(self._rng, message)
            case "google.protobuf.Struct":
                for name in self._rng.sample(("a", "b", "loss", self._mark), 2):
                    message[name] = self._rng.choice((1, 0.5, True, None, "text", self._mark, [1, {"c": 2}]))
            case _:
                for field in descriptor.fields:
                    wanted = field.name in REQUIRED or self._rng.random() < self._density / (1 + depth)
                    if wanted and depth < MAX_DEPTH and field.containing_oneof in (None, *_synthetic(field)):
                        self._set(message, field, depth)
                self._choose(message)
                for oneof in descriptor.oneofs:
                    if not all(_synthetic(field) for field in oneof.fields):
                        self._set(message, self._rng.choice(oneof.fields), depth)
        return message

    def _choose(self, message: Message) -> None:
        """Mostly leave one of the fields that a request must not have together."""
        for names in values.EXCLUSIVE:
            known = [name for name in names if name in message.DESCRIPTOR.fields_by_name]
            if len(known) == len(names) and self._rng.random() < 0.9:
                message.ClearField(self._rng.choice(known))

    def _set(self, message: Message, field: FieldDescriptor, depth: int = 0) -> None:
        """Give a field a plausible value, or some."""
        if _is_map(field):
            for _ in range(self._rng.randint(1, 2)):
                self._put(message, field, self._rng.choice(("team", "n", "report", self._mark)), depth)
        elif field.is_repeated:
            for _ in range(self._rng.choice((1, 1, 2, 3))):
                _append(message, field, self._value(message, field, depth))
        else:
            _assign(message, field, self._value(message, field, depth))

    def _put(self, message: Message, field: FieldDescriptor, key: str, depth: int) -> None:
        entry = field.message_type.fields_by_name["value"]
        value = self._value(message, entry, depth)
        target = getattr(message, field.name)
        if entry.message_type is not None:
            target[key].CopyFrom(value)
        else:
            target[key] = value

    def _value(self, message: Message, field: FieldDescriptor, depth: int) -> Any:  # noqa: PLR0911 - one a type
        name = name_of(field)
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_MESSAGE if field.message_type.full_name == "google.protobuf.FieldMask":
                return self._mask(message, field)
            case FieldDescriptor.CPPTYPE_MESSAGE:
                return self._message(field.message_type, depth + 1)
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                known = self._memory.value(name)
                return known if isinstance(known, bytes) else b""
            case FieldDescriptor.CPPTYPE_STRING:
                return self._text(name, message.DESCRIPTOR)
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._rng.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._rng.choice(field.enum_type.values[1:] or field.enum_type.values).number
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return values.plausible_number(self._rng, name, whole=False)
            case _:
                known = self._memory.value(name)
                return known if type(known) is int else int(values.plausible_number(self._rng, name, whole=True))

    def _text(self, name: str, requested: Descriptor) -> str:
        if name == "name" and requested.file.package == "google.longrunning":
            listed = requested.name.startswith("List")
            return "operations" if listed else f"operations/{self._memory.value('job_id')}"
        if name == "job_id" and requested.name.startswith("Create"):
            return f"{self._mark}-{self._rng.getrandbits(20)}"
        known, plausible = self._memory.value(name), values.WORDS.get(name)
        if isinstance(known, str) and (plausible is None or self._rng.random() < values.KNOWN.get(name, 0.5)):
            return known
        return self._rng.choice(plausible or (self._mark, f"{self._mark} part", "a", "report"))

    def _mask(self, message: Message, field: FieldDescriptor) -> Message:
        mask = GetMessageClass(field.message_type)()
        names = [one.name for one in message.DESCRIPTOR.fields if one.name != field.name]
        if "schedule_time" in names and self._rng.random() < 0.8:
            names = [*values.UPDATABLE]
        mask.paths.extend(self._rng.sample(names, min(len(names), self._rng.randint(1, 3))))
        return mask

    def _spoil(self, message: Message) -> None:
        """Give one field, somewhere in the message, an odd value; or take it away, or say it again and again."""
        while True:
            inner = [one for one in _messages(message) if one.DESCRIPTOR.fields]
            if not inner or self._rng.random() < 0.5:
                break
            message = self._rng.choice(inner)
        if not message.DESCRIPTOR.fields:
            return
        field = self._rng.choice(message.DESCRIPTOR.fields)
        match self._rng.randrange(8):
            case 0:
                message.ClearField(field.name)
            case 1 if field.is_repeated and not _is_map(field):
                for _ in range(self._rng.choice((9, 101, 1_001))):
                    _append(message, field, self._value(message, field, MAX_DEPTH))
            case _:
                self._set_odd(message, field)

    def _set_odd(self, message: Message, field: FieldDescriptor) -> None:
        if _is_map(field):
            key = field.message_type.fields_by_name["key"]
            text = values.odd_text(self._rng, self._mark) if key.cpp_type == FieldDescriptor.CPPTYPE_STRING else 1
            self._put(message, field, text, MAX_DEPTH)
        elif field.is_repeated:
            _append(message, field, self._odd(message, field))
        else:
            _assign(message, field, self._odd(message, field))

    def _odd(self, message: Message, field: FieldDescriptor) -> Any:  # noqa: PLR0911 - one a type
        known = self._memory.value(name_of(field))
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_MESSAGE:
                return self._odd_message(message, field)
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return values.mutated_bytes(self._rng, known if isinstance(known, bytes) else b"")
            case FieldDescriptor.CPPTYPE_STRING:
                return values.odd_text(self._rng, known if isinstance(known, str) else "")
            case FieldDescriptor.CPPTYPE_BOOL:
                return True
            case FieldDescriptor.CPPTYPE_DOUBLE:
                return self._rng.choice(values.DOUBLES)
            case FieldDescriptor.CPPTYPE_FLOAT:
                return 0.0
            case _:
                return values.odd_integer(self._rng, field.cpp_type)

    def _odd_message(self, message: Message, field: FieldDescriptor) -> Message:
        descriptor = field.message_type
        made = GetMessageClass(descriptor)()
        match descriptor.full_name:
            case "google.protobuf.Timestamp" | "google.protobuf.Duration":
                made.seconds, made.nanos = self._rng.choice(values.SECONDS), self._rng.choice(values.NANOS)
            case "google.protobuf.Struct":
                _fill(self._rng, made)
            case "google.protobuf.FieldMask":
                made.paths.extend(self._rng.choices((*values.TEXTS, "priority", "job_id", "*"), k=3))
            case _ if self._rng.random() < 0.5:
                return self._message(descriptor, 1)
        return made

    def _huge(self, descriptor: Descriptor) -> bytes:
        """Return a request of about the largest size: of one text, of many values, or of fields that nobody knows."""
        message = self.plausible(descriptor)
        texts = [one for one in descriptor.fields if one.type == FieldDescriptor.TYPE_STRING]
        size = self._rng.choice((LIMIT // 2, LIMIT - 2_000, LIMIT + 10, 2 * LIMIT + 10))
        if texts and self._rng.random() < 0.7:
            field = self._rng.choice(texts)
            if field.is_repeated:
                getattr(message, field.name).extend([self._text(name_of(field), descriptor) or "x"] * (size // 40))
            else:
                setattr(message, field.name, "y" * size)
            return _encode(message)
        return _encode(message) + _length_delimited(20_000, b"z" * size)

    def _deep(self, descriptor: Descriptor, depth: int) -> bytes:
        """Return a field that holds a Struct nested so deep, if the message has one; else a group nested so."""
        for field in descriptor.fields:
            if field.message_type is not None and field.message_type.full_name == "google.protobuf.Struct":
                nested = b""
                for _ in range(depth):
                    entry = _length_delimited(1, b"a") + _length_delimited(2, _length_delimited(5, nested))
                    nested = _length_delimited(1, entry)
                return _length_delimited(field.number, nested)
        return b"\x0b" * depth + b"\x0c" * depth


def _fill(rng: Random, struct: Message) -> None:
    """Make a Struct that JSON, or a decoder, may not bear."""
    match rng.randrange(6):
        case 0 | 5:
            struct[rng.choice(values.TEXTS)] = rng.choice(values.DOUBLES)
        case 1:
            for _ in range(rng.choice((10, 20, 23, 24, 25, 28))):
                struct.get_or_create_struct("a")
                struct = struct["a"]
        case 2:
            struct["wide"] = list(range(rng.choice((10, 2_000))))
        case 3:
            struct.fields["without a kind"].SetInParent()
            struct.fields["null"].null_value = 7
        case _:
            struct["list"] = [rng.choice(values.TEXTS), [[]], {}, 2.0**53 + 2]
            struct["list"].values.add().number_value = rng.choice(values.DOUBLES)


def _encode(message: Message) -> bytes:
    """Encode a message; one that is nested too deep to be encoded is sent as nothing."""
    try:
        return message.SerializeToString()
    except (EncodeError, ValueError):
        return b""


def _messages(message: Message) -> list[Message]:
    """Return the messages that are directly in a message."""
    found: list[Message] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            found += [one for one in value.values() if isinstance(one, Message)]
        else:
            found += list(value) if field.is_repeated else [value]
    return found


def _append(message: Message, field: FieldDescriptor, value: Any) -> None:
    if isinstance(value, Message):
        getattr(message, field.name).add().CopyFrom(value)
    else:
        getattr(message, field.name).append(value)


def _assign(message: Message, field: FieldDescriptor, value: Any) -> None:
    if isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _synthetic(field: FieldDescriptor) -> tuple[Any, ...]:
    """Return the oneof of an `optional` field, which is one in the descriptor alone."""
    oneof = field.containing_oneof
    return (oneof,) if oneof is not None and len(oneof.fields) == 1 and field.has_presence else ()


def _length_delimited(number: int, raw: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
