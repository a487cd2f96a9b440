"""The services as the owners of the model-based test call them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from jobledger.v1 import worker_service_pb2 as work_pb
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub

from tests.support.bounds import BOUND

Stub = Callable[..., Any]


@dataclass(frozen=True)
class Owner:
    """The services as one owner calls them."""

    jobs: JobServiceStub
    work: WorkerServiceStub
    metadata: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, channel: grpc.Channel, token: str) -> "Owner":
        """Return the services on a channel, called with a key."""
        key = (("authorization", f"Bearer {token}"),)
        return cls(JobServiceStub(channel), WorkerServiceStub(channel), key)

    def __call__(self, method: Stub, request: Any) -> Any:
        """Call a method."""
        return method(request, metadata=self.metadata, timeout=BOUND)


def ending(tokens: Sequence[str], how: str, last: dict[str, int], output: dict[str, int]) -> Any:
    """Return the request that ends leases; `last` is the last report of each, `output` what completions declare."""
    each = [{"lease_token": token, "progress": last} for token in tokens]
    if how == "complete":
        declared = {"output": output, "job_output": output} if output else {}
        return work_pb.CompleteChunksRequest(completions=[one | declared for one in each])
    if how == "release":
        return work_pb.ReleaseChunksRequest(releases=each)
    failure = {"error": {"code": "X"}, "not_retryable": how == "fail for good"}
    return work_pb.FailChunksRequest(failures=[one | failure for one in each])
