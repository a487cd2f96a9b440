"""The settings: flags of the command line, else `JOBLEDGER_*` in the environment, else the defaults."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

PREFIX: Final = "JOBLEDGER_"
"""The prefix of the environment variables that are settings."""

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


class InvalidSettingError(ValueError):
    """A setting that does not go with the others, or would be unsafe."""


class Setting(MsgStruct, frozen=True):
    """One setting: what it is for, its default, and the bounds of its value: above `gt`, from `ge` to `le`.

    `is_span`: it is a span of time, in seconds.
    """

    description: str
    default: Any
    gt: float | None = None
    ge: float | None = None
    le: float | None = None
    is_span: bool = False
    type: Any = None
    """The type of its value, but for None, or a Literal."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it may have; none when it is no choice."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def read(self, value: Any) -> Any:  # noqa: ANN401  of the setting's type, or its text
        """Return a value of the setting's type within its bounds; raises ValueError with the rule."""
        value = self._parse(value) if isinstance(value, str) else value
        if self.gt is not None and not value > self.gt:
            raise ValueError(f"must be more than {self._shown(self.gt)}")
        if self.ge is not None and not value >= self.ge:
            raise ValueError(f"must be at least {self._shown(self.ge)}")
        if self.le is not None and not value <= self.le:
            raise ValueError(f"must be at most {self._shown(self.le)}")
        return value

    def _shown(self, bound: float) -> str:
        return text_of(bound) if self.is_span else f"{bound:,}"

    def _parse(self, text: str) -> Any:  # noqa: ANN401
        if self.is_span:
            return seconds_of(text)
        if self.choices:
            if text not in self.choices:
                raise ValueError(f"must be one of {', '.join(self.choices)}")
            return text
        if self.type is bool:
            if text.lower() not in _TRUE + _FALSE:
                raise ValueError("must be true or false")
            return text.lower() in _TRUE
        try:
            return self.type(text)
        except ValueError:
            raise ValueError("must be a whole number" if self.type is int else "must be a number") from None


_TRUE: Final = ("true", "1", "yes", "on", "t", "y")
_FALSE: Final = ("false", "0", "no", "off", "f", "n")


def setting(description: str, default: Any, **bounds: Any) -> Any:  # noqa: ANN401  for the type checker, the value
    """Declare a setting, with the bounds of its value as in Setting."""
    return Setting(description, default, **bounds)


def span(description: str, default: Any, **bounds: Any) -> Any:  # noqa: ANN401  as above
    """Declare a setting that is a span of time, in seconds."""
    return Setting(description, default, **bounds, is_span=True)


class Settings:
    """All settings of a server; durations in seconds, None for ever. `read_settings` reads them with units (7d)."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  values of all types
        if unknown := given.keys() - SETTINGS.keys():
            raise TypeError(f"there are no settings {', '.join(sorted(unknown))}")
        self.__dict__.update({name: one.default for name, one in SETTINGS.items()} | given)

    database: str = setting(
        "The database: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.", "sqlite:///jobledger.db"
    )
    database_connect_timeout: float = span("How long connecting to PostgreSQL may take.", 5, ge=2)
    database_statement_timeout: float = span("How long PostgreSQL may take for a statement.", 15, ge=1)
    database_lock_timeout: float = span("How long a statement may wait for a lock.", 10, gt=0)
    database_idle_timeout: float = span("When PostgreSQL ends a transaction that does nothing.", 5, ge=1)
    database_read_timeout: float = span("How long a read of the database may take in all.", 10, gt=0)
    database_export_timeout: float = span("How long reading one page of an export may take.", 60, gt=0)
    reads_per_owner: int = setting("How many reads of an owner may wait for their turn.", 1_000, ge=1)
    listen: str = setting("The address to serve on, HOST:PORT; port 0 picks a free one.", "127.0.0.1:7070")
    admin_listen: str | None = setting("A second address, for operators, HOST:PORT; off when none.", None)
    processes: int = setting("How many processes serve on the address; PostgreSQL only.", 1, ge=1, le=64)
    shared_port: bool = setting("Let other processes of this machine listen on the same port.", default=False)
    auth: Literal["none", "keys"] = setting("keys: every call needs an API key; none: no authentication.", "none")
    insecure: bool = setting("Listen on addresses of other hosts without keys or TLS.", default=False)
    tls_cert: Path | None = setting("PEM file of the server's certificate, which makes it speak TLS.", None)
    tls_key: Path | None = setting("PEM file of the certificate's private key.", None)
    tls_client_ca: Path | None = setting("PEM file of the CA of client certificates, which are then required.", None)
    reflection: Literal["off", "admin", "main"] = setting(
        "Where gRPC reflection is served; admin: on admin_listen only.", "main"
    )
    channelz: Literal["off", "admin", "main"] = setting(
        "Where channelz is served; admin: on admin_listen, if it is set.", "admin"
    )
    bookmark_interval: float = span("How long a watch may be quiet before a bookmark.", 10, gt=0, le=15)
    duty_interval: float = span("How often leases, retries and deadlines are checked.", 0.5, gt=0)
    expiry_delay: float = span(
        "How long after its end a lease or a run ends, so that earlier reports are still taken.", 2, ge=0
    )
    retention_interval: float = span("How often expired jobs and old history are removed.", 5, gt=0)
    event_retention: float = span("How long history is kept; watches resume within it.", 7 * 86_400, ge=0)
    audit_retention: float = span("How long audit trails of deleted jobs and ended keys are kept.", 90 * 86_400, ge=0)
    statistics_retention: float = span("How long hourly statistics are kept.", 400 * 86_400, ge=86_400)
    completed_retention: float | None = span("How long COMPLETED jobs are kept.", None, ge=0)
    failed_retention: float | None = span("How long FAILED jobs are kept.", None, ge=0)
    cancelled_retention: float | None = span("How long CANCELLED jobs are kept.", None, ge=0)
    drain_timeout: float = span("How long calls may take to finish when the server stops.", 20, ge=0)
    queue_limit: int = setting("How many writes may wait before more are refused.", 10_000, ge=1)
    queue_wait: float = span("How long an owner's writes may wait before more are refused.", 0.5, gt=0)
    calls_limit: int = setting("How many reads, and how many writes, may be in flight.", 10_000, ge=1)
    memory_limit: int = setting(
        "How many bytes all that waits may take: requests that are received, in flight or written.",
        268_435_456,
        ge=16_777_216,
    )
    usage_interval: float = span("How often usage, the last use of keys and workers are written.", 10, gt=0)
    usage_retention: float = span("How long usage is kept.", 400 * 86_400, ge=86_400)
    message_limit: int = setting("How many bytes a request may have.", 4_194_304, ge=1_024)
    watches_per_key: int = setting("How many watches of a key may be open at a process.", 1_000, ge=1)
    watches_per_owner: int | None = setting(
        "How many watches of an owner without a quota may be open at a process.", None, ge=1
    )
    watches_without_keys: int = setting("How many watches may be open at a process without keys.", 20_000, ge=1)
    claims_per_key: int = setting("How many claims of a key may wait at a process.", 4_000, ge=1)
    claims_without_keys: int = setting("How many claims may wait at a process without keys.", 20_000, ge=1)
    unfinished_jobs_per_owner: int | None = setting(
        "How many unfinished jobs an owner without a quota may have.", None, ge=1
    )
    stored_jobs_per_owner: int | None = setting("How many jobs in all an owner without a quota may have.", None, ge=1)
    rate_limit_read: str | None = setting(
        "How often a key may read, and how many at once: 100/second; 3000/minute.", None
    )
    rate_limit_write: str | None = setting("How often a key may write.", None)
    rate_limit_watch: str | None = setting("How often a key may open a watch.", None)
    rate_limit_store: str = setting("Where rate limits are counted: memory, or redis://HOST:PORT/DB.", "memory")
    allow_file_artifacts: bool = setting("Allow file:// in the URIs of artifacts.", default=False)
    indexed_labels: str = setting(
        "Names of labels, at most 4, separated by spaces, whose values lists walk as an index.", ""
    )
    bulk_rate: int = setting("How many jobs a second a bulk run changes.", 500, ge=1, le=100_000)
    artifact_roots: str = setting(
        "URL prefixes, separated by spaces, under which artifacts may be deleted, like s3://bucket/out/ or "
        "https://media.example/=s3://bucket/ when they are named by download addresses; the segment {owner} is "
        "wanted with keys, like s3://bucket/{owner}/.",
        "",
    )
    artifact_roots_shared_by_all_owners: bool = setting(
        "Let owners with keys delete each other's files below artifact_roots.", default=False
    )
    webhook_timeout: float = span("How long a receiver of a delivery may take.", 15, gt=0, le=300)
    webhook_concurrency: int = setting("How many deliveries are attempted at once.", 64, ge=1, le=10_000)
    webhook_endpoint_concurrency: int = setting("How many deliveries of one webhook are attempted at once.", 8, ge=1)
    webhook_initial_backoff: float = span("The wait after a delivery's first failed attempt.", 5, ge=0)
    webhook_retry_window: float = span("How long a failed delivery is tried again.", 86_400, ge=0)
    webhook_pause_after: float = span("How long a webhook fails before it is paused.", 72_000, ge=0)
    webhook_retention: float = span("How long deliveries are kept.", 7 * 86_400, ge=0)
    secrets_keys: str = setting(
        "Keys of 32 bytes in base64, separated by spaces, that seal webhook secrets in the database; "
        "the first seals, all open.",
        "",
    )
    webhook_allow_http: bool = setting("Allow http:// in the URLs of webhooks.", default=False)
    webhook_allow_private_networks: bool = setting("Allow deliveries to addresses that are not public.", default=False)
    log_level: Literal["debug", "info", "warning", "error"] = setting("debug logs every call.", "info")
    log_format: Literal["auto", "json", "pretty"] = setting("auto is pretty on a terminal.", "auto")
    access_log: float = setting("The share of calls that are logged, 0 to 1.", 0, ge=0, le=1)
    tracing: bool = setting("Make OpenTelemetry spans of calls; needs the extra otel.", default=False)
    metrics_listen: str | None = setting("Where Prometheus reads /metrics, HOST:PORT; off when none.", None)
    metrics_kinds: int = setting("How many kinds have metrics of their own.", 50, ge=0, le=1_000)
    metrics_insecure: bool = setting("Let other hosts read the metrics.", default=False)
    health_interval: float = span("How often the server checks its own health.", 5, gt=0)
    health_database_latency: float = span("Degraded when a small read takes longer.", 0.5, gt=0)
    health_database_lost: float = span("How long the database may be lost before health is NOT_SERVING.", 30, ge=0)
    health_commit_stall: float = span("Unhealthy when one commit takes longer.", 5, gt=0)
    health_queue_share: float = setting("Degraded when more of queue_limit waits, 0 to 1.", 0.5, gt=0, le=1)
    health_feed_lag: int = setting("Degraded when watchers are more entries behind.", 5_000, ge=0)
    health_webhook_age: float = span("Degraded when a webhook delivery has waited for longer.", 21_600, gt=0)
    health_webhook_dead: int = setting("Degraded when more deliveries are dead.", 1_000, ge=0, le=9_999)
    health_probe_interval: float = span(
        "How often the server checks the stores of artifacts that it may delete.", 30, gt=0
    )
    health_disk_free: int = setting("Degraded when fewer bytes are free on the disk.", 1_073_741_824, ge=0)


def _typed(name: str, annotation: Any) -> Setting:  # noqa: ANN401  a type
    declared: Setting = vars(Settings)[name]
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return replace(declared, type=kinds[0] if NoneType in get_args(annotation) else annotation)


SETTINGS: Final[Mapping[str, Setting]] = {name: _typed(name, kind) for name, kind in Settings.__annotations__.items()}
"""The settings by name."""


class InvalidSettingsError(InvalidSettingError):
    """Values that settings cannot have: the name of each, the value, and the rule."""

    def __init__(self, problems: list[tuple[str, object, str]]) -> None:
        super().__init__("; ".join(f"{name}: {value!r}: {rule}" for name, value, rule in problems))
        self.problems = problems


def read_settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings: what is given, else what the environment says; raises InvalidSettingsError."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    values, problems = {}, []
    for name, one in SETTINGS.items():
        value = given.get(name)
        if value is None:
            value = environment.get(PREFIX + name.upper())
        if value is not None:
            try:
                values[name] = one.read(value)
            except ValueError as error:
                problems.append((name, value, str(error)))
    if problems:
        raise InvalidSettingsError(problems)
    return Settings(**values)
