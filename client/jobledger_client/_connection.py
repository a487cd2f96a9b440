"""How workers and integrations connect: they pass it on to their clients."""

from typing import TypedDict

import grpc

from jobledger_client._channel import ChannelOptions
from jobledger_client._metadata import MetadataSource


class ConnectionOptions(TypedDict, total=False):
    """Parameters of AsyncJobClient that a Worker and the like accept as well."""

    api_key: str | None
    credentials: grpc.ChannelCredentials | None
    metadata: MetadataSource
    options: ChannelOptions
