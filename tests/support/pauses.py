"""Paused kinds in tests."""

from jobledger.v1 import limit_service_pb2 as rpc
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from tests.support.api import Api


async def pause(api: Api, kind: str, reason: str = "") -> rpc.PausedKind:
    request = rpc.PauseKindRequest(kind=kind, reason=reason)
    return (await LimitServiceStub(api.channel).PauseKind(request)).paused_kind


async def resume(api: Api, kind: str) -> bool:
    return (await LimitServiceStub(api.channel).ResumeKind(rpc.ResumeKindRequest(kind=kind))).resumed


async def paused_kinds(api: Api, page_size: int = 0) -> list[rpc.PausedKind]:
    """Return all paused kinds, page by page."""
    request, found = rpc.ListPausedKindsRequest(page_size=page_size), list[rpc.PausedKind]()
    while True:
        page = await LimitServiceStub(api.channel).ListPausedKinds(request)
        assert len(page.paused_kinds) <= (page_size or 100)
        found += page.paused_kinds
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found
