"""Every RPC needs a role, and every role has exactly the RPCs that the contract gives it."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.access.conftest import As, Keyed
from tests.support.errors import Refusal, read
from tests.support.keys import ADMIN, CALLER, OWNER_ADMIN, WORKER, KeyedApi
from tests.support.methods import METHODS

OPEN = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}
NEEDED = {
    "JobService": "CALLER",
    "Operations": "CALLER",
    "WebhookService": "CALLER",
    "WorkerService": "WORKER",
    "AdminService": "ADMIN",
    "CreateApiKey": "OWNER_ADMIN",
    "ListApiKeys": "OWNER_ADMIN",
    "RevokeApiKey": "OWNER_ADMIN",
    "RotateApiKey": "OWNER_ADMIN",
    "GetUsage": "OWNER_ADMIN",
    "GetQuota": "ANY",
    "ListQuotas": "ANY",
    "LimitService": "OWNER_ADMIN",
    "ListLimits": "CALLER",
    "ListPausedKinds": "CALLER",
    "ListWorkers": "CALLER",
    "ImportService": "OWNER_ADMIN",
    "Channelz": "ADMIN",
}
HELD = {
    "caller": ({CALLER}, {"CALLER", "ANY"}),
    "worker": ({WORKER}, {"WORKER", "ANY"}),
    "caller and worker": ({CALLER, WORKER}, {"CALLER", "WORKER", "ANY"}),
    "owner's admin": ({OWNER_ADMIN}, {"CALLER", "WORKER", "OWNER_ADMIN", "ANY"}),
    "admin": ({ADMIN}, {"CALLER", "WORKER", "OWNER_ADMIN", "ADMIN", "ANY"}),
}
DENIED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def served(keyed: Keyed) -> Iterator[MethodDescriptor]:
    """Yield every method of every service that asks for a key, as the server itself lists them."""
    with grpc.insecure_channel(keyed.replicas[0].target) as channel:
        names = set(ProtoReflectionDescriptorDatabase(channel).get_services()) - OPEN
    assert names
    for name in sorted(names):
        yield from descriptor_pool.Default().FindServiceByName(name).methods


async def outcome(channel: grpc.aio.Channel, method: MethodDescriptor) -> Refusal:
    """Call a method with an empty message; return how it was refused, if it was."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            call = channel.unary_stream(path)(b"")
            await call.read()
            call.cancel()
        elif method.client_streaming:
            await channel.stream_unary(path)(iter([b""]))
        else:
            await channel.unary_unary(path)(b"")
    except grpc.aio.AioRpcError as error:
        return read(error)
    return Refusal()


def test_every_method_is_in_the_table_of_roles(keyed: Keyed):
    assert {method.full_name for method in served(keyed)} == {name for name, one in METHODS.items() if one.role}


@pytest.mark.parametrize("holder", HELD)
async def test_a_role_has_its_methods_and_no_others(keyed: Keyed, admin: KeyedApi, as_holder: As, holder: str):
    roles, has = HELD[holder]
    api = as_holder(keyed.replicas[0], (await admin.make(*roles)).token)
    for method in served(keyed):
        needed = NEEDED.get(method.name) or NEEDED[method.containing_service.name]
        result = await outcome(api.channel, method)
        if needed in has:
            assert result.code not in DENIED, method.full_name
        else:
            assert (result.code, result.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"), method.full_name
            assert result.metadata == {"method": method.name, "role": needed}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "API_KEY_MISSING"),
        ("", "API_KEY_MISSING"),
        ("Basic YTpi", "API_KEY_MISSING"),
        ("Bearer", "API_KEY_UNKNOWN"),
        ("Bearer nonsense", "API_KEY_UNKNOWN"),
        (f"Bearer jl_{'0' * 12}_{'0' * 64}", "API_KEY_UNKNOWN"),
    ],
)
async def test_nobody_calls_anything_without_a_key_that_works(keyed: Keyed, header: str | None, reason: str):
    metadata = () if header is None else (("authorization", header),)
    async with grpc.aio.insecure_channel(keyed.replicas[0].target) as channel:
        for method in served(keyed):
            path = f"/{method.containing_service.full_name}/{method.name}"
            call = channel.unary_stream(path)(b"", metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            result = read(caught.value)
            assert (result.code, result.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), method.full_name


async def test_the_id_of_a_key_with_another_secret_is_unknown(keyed: Keyed, as_holder: As):
    other = keyed.token[:-1] + ("0" if keyed.token[-1] != "0" else "1")
    result = await outcome(as_holder(keyed.replicas[0], other).channel, next(served(keyed)))
    assert (result.code, result.reason) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_UNKNOWN")
