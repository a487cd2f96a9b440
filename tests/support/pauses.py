"""Paused kinds in tests."""

from jobledger.v1 import limit_service_pb2 as rpc
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from tests.support.api import Api
from tests.support.pages import pages_of


async def pause(api: Api, kind: str, reason: str = "") -> rpc.PausedKind:
    request = rpc.PauseKindRequest(kind=kind, reason=reason)
    return (await LimitServiceStub(api.channel).PauseKind(request)).paused_kind


async def resume(api: Api, kind: str, owner: str = "") -> bool:
    request = rpc.ResumeKindRequest(kind=kind, owner=owner)
    return (await LimitServiceStub(api.channel).ResumeKind(request)).resumed


async def paused_kinds(api: Api, page_size: int = 0) -> list[rpc.PausedKind]:
    """Return all paused kinds, page by page."""
    request = rpc.ListPausedKindsRequest(page_size=page_size)
    pages = [page.paused_kinds async for page in pages_of(LimitServiceStub(api.channel).ListPausedKinds, request)]
    assert max(map(len, pages)) <= (page_size or 100)
    return [paused for kinds in pages for paused in kinds]
