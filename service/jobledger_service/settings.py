"""The settings: flags of the command line, else `JOBLEDGER_*` in the environment, else the defaults."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_SHOWN: Final = {name: size for name, size in _UNITS.items() if name != "w"}


def seconds_of(word: str) -> float:
    """Return a span of time in seconds; raises ValueError for what is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw])?", word.strip())
    if match is None:
        raise ValueError(f"value {word!r} must be a span of time such as 30s, 5m, 2h or 7d")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > timedelta.max.total_seconds():
        raise ValueError(f"value {word!r} must be at most {timedelta.max.days:,} days")
    return seconds


def text_of(seconds: float) -> str:
    """Return a span of time in the largest unit in which it is a whole number."""
    if not seconds:
        return "0s"
    for name, size in sorted(_SHOWN.items(), key=lambda unit: -unit[1]):
        if (seconds / size).is_integer():
            return f"{round(seconds / size)}{name}"
    return f"{seconds:g}s"


def _read(value: Any) -> Any:  # noqa: ANN401  a number, or a word to be read
    return seconds_of(value) if isinstance(value, str) else value


SPAN: Final = BeforeValidator(_read)

Seconds = Annotated[float, SPAN]
"""A setting that is a span of time, in seconds."""

OptionalSeconds = Annotated[float | None, SPAN]
"""The same, None for ever."""


class InvalidSettingError(ValueError):
    """A setting that does not go with the others, or would be unsafe."""


class Settings(BaseSettings):
    """All settings of a server; durations in seconds, or with a unit (7d), None for ever."""

    model_config = SettingsConfigDict(env_prefix="JOBLEDGER_", frozen=True)

    database: str = Field(
        "sqlite:///jobledger.db", description="The database: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."
    )
    database_connect_timeout: Seconds = Field(5, ge=2, description="How long connecting to PostgreSQL may take.")
    database_statement_timeout: Seconds = Field(15, ge=1, description="How long PostgreSQL may take for a statement.")
    database_lock_timeout: Seconds = Field(10, gt=0, description="How long a statement may wait for a lock.")
    database_idle_timeout: Seconds = Field(5, ge=1, description="When PostgreSQL ends a transaction that does nothing.")
    database_read_timeout: Seconds = Field(10, gt=0, description="How long a read of the database may take in all.")
    database_export_timeout: Seconds = Field(60, gt=0, description="How long reading one page of an export may take.")
    reads_per_owner: int = Field(1_000, ge=1, description="How many reads of an owner may wait for their turn.")
    listen: str = Field("127.0.0.1:7070", description="The address to serve on, HOST:PORT; port 0 picks a free one.")
    admin_listen: str | None = Field(None, description="A second address, for operators, HOST:PORT; off when none.")
    processes: int = Field(1, ge=1, le=64, description="How many processes serve on the address; PostgreSQL only.")
    shared_port: bool = Field(default=False, description="Let other processes of this machine listen on the same port.")
    auth: Literal["none", "keys"] = Field(
        "none", description="keys: every call needs an API key; none: no authentication."
    )
    insecure: bool = Field(default=False, description="Listen on addresses of other hosts without keys or TLS.")
    tls_cert: Path | None = Field(None, description="PEM file of the server's certificate, which makes it speak TLS.")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of the CA of client certificates, which are then required."
    )
    reflection: Literal["off", "admin", "main"] = Field(
        "main", description="Where gRPC reflection is served; admin: on admin_listen only."
    )
    channelz: Literal["off", "admin", "main"] = Field(
        "admin", description="Where channelz is served; admin: on admin_listen, if it is set."
    )
    bookmark_interval: Seconds = Field(10, gt=0, le=15, description="How long a watch may be quiet before a bookmark.")
    duty_interval: Seconds = Field(0.5, gt=0, description="How often leases, retries and deadlines are checked.")
    expiry_delay: Seconds = Field(
        2, ge=0, description="How long after its end a lease or a run ends, so that earlier reports are still taken."
    )
    retention_interval: Seconds = Field(5, gt=0, description="How often expired jobs and old history are removed.")
    event_retention: Seconds = Field(
        7 * 86_400, ge=0, description="How long history is kept; watches resume within it."
    )
    audit_retention: Seconds = Field(
        90 * 86_400, ge=0, description="How long audit trails of deleted jobs and ended keys are kept."
    )
    statistics_retention: Seconds = Field(400 * 86_400, ge=86_400, description="How long hourly statistics are kept.")
    completed_retention: OptionalSeconds = Field(None, ge=0, description="How long COMPLETED jobs are kept.")
    failed_retention: OptionalSeconds = Field(None, ge=0, description="How long FAILED jobs are kept.")
    cancelled_retention: OptionalSeconds = Field(None, ge=0, description="How long CANCELLED jobs are kept.")
    drain_timeout: Seconds = Field(20, ge=0, description="How long calls may take to finish when the server stops.")
    queue_limit: int = Field(10_000, ge=1, description="How many writes may wait before more are refused.")
    queue_wait: Seconds = Field(0.5, gt=0, description="How long an owner's writes may wait before more are refused.")
    calls_limit: int = Field(10_000, ge=1, description="How many reads, and how many writes, may be in flight.")
    memory_limit: int = Field(
        268_435_456,
        ge=16_777_216,
        description="How many bytes all that waits may take: requests that are received, in flight or written.",
    )
    usage_interval: Seconds = Field(
        10, gt=0, description="How often usage, the last use of keys and workers are written."
    )
    usage_retention: Seconds = Field(400 * 86_400, ge=86_400, description="How long usage is kept.")
    message_limit: int = Field(4_194_304, ge=1_024, description="How many bytes a request may have.")
    watches_per_key: int = Field(1_000, ge=1, description="How many watches of a key may be open at a process.")
    watches_per_owner: int | None = Field(
        None, ge=1, description="How many watches of an owner without a quota may be open at a process."
    )
    watches_without_keys: int = Field(
        20_000, ge=1, description="How many watches may be open at a process without keys."
    )
    claims_per_key: int = Field(4_000, ge=1, description="How many claims of a key may wait at a process.")
    claims_without_keys: int = Field(20_000, ge=1, description="How many claims may wait at a process without keys.")
    unfinished_jobs_per_owner: int | None = Field(
        None, ge=1, description="How many unfinished jobs an owner without a quota may have."
    )
    stored_jobs_per_owner: int | None = Field(
        None, ge=1, description="How many jobs in all an owner without a quota may have."
    )
    rate_limit_read: str | None = Field(
        None, description="How often a key may read, and how many at once: 100/second; 3000/minute."
    )
    rate_limit_write: str | None = Field(None, description="How often a key may write.")
    rate_limit_watch: str | None = Field(None, description="How often a key may open a watch.")
    rate_limit_store: str = Field(
        "memory", description="Where rate limits are counted: memory, or redis://HOST:PORT/DB."
    )
    allow_file_artifacts: bool = Field(default=False, description="Allow file:// in the URIs of artifacts.")
    indexed_labels: str = Field(
        "",
        description="Names of labels, at most 4, separated by spaces, whose values lists walk as an index.",
    )
    bulk_rate: int = Field(500, ge=1, le=100_000, description="How many jobs a second a bulk run changes.")
    artifact_roots: str = Field(
        "",
        description="URL prefixes, separated by spaces, under which artifacts may be deleted, like s3://bucket/out/ or "
        "https://media.example/=s3://bucket/ when they are named by download addresses; the segment {owner} is wanted "
        "with keys, like s3://bucket/{owner}/.",
    )
    artifact_roots_shared_by_all_owners: bool = Field(
        default=False, description="Let owners with keys delete each other's files below artifact_roots."
    )
    webhook_timeout: Seconds = Field(15, gt=0, le=300, description="How long a receiver of a delivery may take.")
    webhook_concurrency: int = Field(64, ge=1, le=10_000, description="How many deliveries are attempted at once.")
    webhook_endpoint_concurrency: int = Field(
        8, ge=1, description="How many deliveries of one webhook are attempted at once."
    )
    webhook_initial_backoff: Seconds = Field(5, ge=0, description="The wait after a delivery's first failed attempt.")
    webhook_retry_window: Seconds = Field(86_400, ge=0, description="How long a failed delivery is tried again.")
    webhook_pause_after: Seconds = Field(72_000, ge=0, description="How long a webhook fails before it is paused.")
    webhook_retention: Seconds = Field(7 * 86_400, ge=0, description="How long deliveries are kept.")
    secrets_keys: str = Field(
        "",
        description="Keys of 32 bytes in base64, separated by spaces, that seal webhook secrets in the database; "
        "the first seals, all open.",
    )
    webhook_allow_http: bool = Field(default=False, description="Allow http:// in the URLs of webhooks.")
    webhook_allow_private_networks: bool = Field(
        default=False, description="Allow deliveries to addresses that are not public."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug logs every call.")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto is pretty on a terminal.")
    access_log: float = Field(0, ge=0, le=1, description="The share of calls that are logged, 0 to 1.")
    tracing: bool = Field(default=False, description="Make OpenTelemetry spans of calls; needs the extra otel.")
    metrics_listen: str | None = Field(None, description="Where Prometheus reads /metrics, HOST:PORT; off when none.")
    metrics_kinds: int = Field(50, ge=0, le=1_000, description="How many kinds have metrics of their own.")
    metrics_insecure: bool = Field(default=False, description="Let other hosts read the metrics.")
    health_interval: Seconds = Field(5, gt=0, description="How often the server checks its own health.")
    health_database_latency: Seconds = Field(0.5, gt=0, description="Degraded when a small read takes longer.")
    health_database_lost: Seconds = Field(
        30, ge=0, description="How long the database may be lost before health is NOT_SERVING."
    )
    health_commit_stall: Seconds = Field(5, gt=0, description="Unhealthy when one commit takes longer.")
    health_queue_share: float = Field(0.5, gt=0, le=1, description="Degraded when more of queue_limit waits, 0 to 1.")
    health_feed_lag: int = Field(5_000, ge=0, description="Degraded when watchers are more entries behind.")
    health_webhook_age: Seconds = Field(
        21_600, gt=0, description="Degraded when a webhook delivery has waited for longer."
    )
    health_webhook_dead: int = Field(1_000, ge=0, le=9_999, description="Degraded when more deliveries are dead.")
    health_probe_interval: Seconds = Field(
        30, gt=0, description="How often the server checks the stores of artifacts that it may delete."
    )
    health_disk_free: int = Field(1_073_741_824, ge=0, description="Degraded when fewer bytes are free on the disk.")
