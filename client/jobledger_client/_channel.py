"""How a channel to Jobledger is set up, unless the caller says otherwise."""

from collections.abc import Sequence

ChannelOptions = Sequence[tuple[str, int | str]]

_DEFAULTS: dict[str, int | str] = {
    # A FULL job may be larger than gRPC's 4 MiB; the service bounds its answers.
    "grpc.max_receive_message_length": -1,
    # gRPC would wait up to two minutes before it looks whether a restarted server is back.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # A connection that died without a word is noticed within 40 s while a call or a watch is open.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}


def channel_options(options: ChannelOptions) -> list[tuple[str, int | str]]:
    """Return the options for a channel: the defaults, and `options` over them."""
    return list({**_DEFAULTS, **dict(options)}.items())
