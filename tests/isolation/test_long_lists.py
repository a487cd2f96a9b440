"""A list with more entries than it may have is refused for that alone: nobody waits while each entry is looked at."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.fuzz.methods import Target, served
from tests.support.api import Api
from tests.support.errors import read
from tests.support.server import Server

TOO_MANY = 10_001
"""More than any list may have."""
GIVEN = {"job_id": "j", "webhook_id": "w", "delivery_id": "d"}
"""Without these a request is refused before its lists are read."""
CLAIMS = {
    f"{method}.claim.{name}"
    for method in ("CompleteChunks", "FailChunks", "ReleaseChunks")
    for name in ("kinds", "job_ids", "owners")
}
UNREAD = {"CreateApiKey.roles", "CreateApiKey.served_owners", "ListWebhookDeliveries.states", *CLAIMS}
"""Not read: the server has neither keys nor that webhook, and the reports beside a claim are refused first."""


def lists(message: Descriptor, depth: int = 0) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Yield the paths of a message's repeated fields, without maps."""
    for field in message.fields:
        if field.is_repeated:
            if not (field.message_type and field.message_type.GetOptions().map_entry):
                yield (field,)
        elif field.message_type and depth == 0 and not field.message_type.full_name.startswith("google."):
            yield from ((field, *rest) for rest in lists(field.message_type, 1))


def request_with(target: Target, path: tuple[FieldDescriptor, ...]) -> bytes:
    """Return a request with a list that is too long."""
    request = GetMessageClass(target.descriptor.input_type)()
    for name in GIVEN.keys() & request.DESCRIPTOR.fields_by_name.keys():
        setattr(request, name, GIVEN[name])
    holder = request
    for field in path[:-1]:
        holder = getattr(holder, field.name)
    entries, field = getattr(holder, path[-1].name), path[-1]
    if field.message_type is not None:
        entries.extend(field.message_type._concrete_class() for _ in range(TOO_MANY))
    else:
        bad = 99 if field.enum_type else "" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else -1
        entries.extend([bad] * TOO_MANY)
    return request.SerializeToString()


async def answer(channel: grpc.aio.Channel, target: Target, raw: bytes) -> None:
    """Send a request; raises how it was refused."""
    match target.streams:
        case False, False:
            await channel.unary_unary(target.path)(raw)
        case True, False:
            await channel.stream_unary(target.path)(iter([raw]))
        case False, True:
            await channel.unary_stream(target.path)(raw).read()
        case _:
            await channel.stream_stream(target.path)(iter([raw])).read()


@pytest.mark.guarantee("3b.2")
async def test_of_a_list_that_is_too_long_no_entry_is_looked_at(server: Server, api: Api):
    found: dict[str, tuple[str, list[str]]] = {}
    for target in served(server.target):
        if target.path.startswith("/jobledger."):
            for path in lists(target.descriptor.input_type):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await answer(api.channel, target, request_with(target, path))
                named = ".".join(field.name for field in path)
                fields = [one for one in read(caught.value).fields if one.startswith(named)]
                found[f"{target.descriptor.name}.{named}"] = named, fields
    others = {place: fields for place, (named, fields) in found.items() if fields != [named]}
    assert others == {place: [] for place in UNREAD}
