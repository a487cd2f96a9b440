"""The settings: flags of the command line, else `JOBLEDGER_*` in the environment, else the defaults."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

PREFIX: Final = "JOBLEDGER_"
"""The prefix of the environment variables that are settings."""

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SHOWN: Final = ("d", "h", "m", "s", "ms")

Where = Literal["off", "admin", "main"]
"""Where a service for operators may be served."""

_SWITCHES: Final = dict.fromkeys(("yes", "on", "t", "y"), True) | dict.fromkeys(("no", "off", "f", "n"), False)
"""What typer takes for a switch too, beside msgspec's true, false, 1 and 0."""

_KINDS: Final = {bool: "true or false", float: "a number", int: "a whole number", str: "text", Path: "a path"}


def seconds_of(word: str) -> float:
    """Return a span of time in seconds; raises ValueError for any other text."""
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
    for name in _SHOWN:
        if (count := seconds / _UNITS[name]).is_integer():
            return f"{round(count)}{name}"
    return f"{seconds:g}s"


class InvalidSettingError(ValueError):
    """A setting that contradicts another, or would be unsafe."""


def about(description: str, **bounds: Any) -> Meta:  # noqa: ANN401  what Meta takes
    """Return the description of a setting, and the bounds of its value."""
    return Meta(description=description, **bounds)


def span(description: str, **bounds: Any) -> Meta:  # noqa: ANN401  what Meta takes
    """Return the description of a setting that is a span of time, and the bounds of its seconds."""
    return Meta(description=description, extra={"is_span": True}, **bounds)


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of a server; durations in seconds, None for ever. `read_settings` reads them with units (7d)."""

    database: Annotated[str, about("The database: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.")] = (
        "sqlite:///jobledger.db"
    )
    database_transaction_pooling: Annotated[
        bool, about("Whether a pooler may give each transaction another connection to PostgreSQL.")
    ] = False
    database_listen: Annotated[str, about("The URL for wake-ups, past a pooler; that of the database when empty.")] = ""
    database_call_timeout: Annotated[
        float, span("How long a call waits for a database that does not answer.", ge=1)
    ] = 10
    listen: Annotated[str, about("The address to serve on, HOST:PORT; port 0 picks a free one.")] = "127.0.0.1:7070"
    admin_listen: Annotated[str, about("A second address, for operators, HOST:PORT; off when none.")] | None = None
    processes: Annotated[int, about("How many processes serve on the address; PostgreSQL only.", ge=1, le=64)] = 1
    shared_port: Annotated[bool, about("Let other processes of this machine listen on the same port.")] = False
    auth: Annotated[Literal["none", "keys"], about("keys: every call needs an API key; none: no authentication.")] = (
        "none"
    )
    insecure: Annotated[bool, about("Listen on addresses of other hosts without keys or TLS.")] = False
    tls_cert: Annotated[Path, about("PEM file of the server's certificate, which makes it speak TLS.")] | None = None
    tls_key: Annotated[Path, about("PEM file of the certificate's private key.")] | None = None
    tls_client_ca: (
        Annotated[Path, about("PEM file of the CA of client certificates, which are then required.")] | None
    ) = None
    reflection: Annotated[Where, about("Where gRPC reflection is served; admin: on admin_listen only.")] = "main"
    channelz: Annotated[Where, about("Where channelz is served; admin: on admin_listen, if it is set.")] = "admin"
    event_retention: Annotated[float, span("How long history is kept; watches resume within it.", ge=0)] = 7 * 86_400
    audit_retention: Annotated[float, span("How long audit trails of deleted jobs and ended keys are kept.", ge=0)] = (
        90 * 86_400
    )
    statistics_retention: Annotated[float, span("How long hourly statistics are kept.", ge=86_400)] = 400 * 86_400
    completed_retention: Annotated[float, span("How long COMPLETED jobs are kept.", ge=0)] | None = None
    failed_retention: Annotated[float, span("How long FAILED jobs are kept.", ge=0)] | None = None
    cancelled_retention: Annotated[float, span("How long CANCELLED jobs are kept.", ge=0)] | None = None
    drain_timeout: Annotated[float, span("How long calls may take to finish when the server stops.", ge=0)] = 20
    queue_wait: Annotated[float, span("How long an owner's writes may wait before more are refused.", gt=0)] = 0.5
    memory_limit: Annotated[
        int,
        about("How many bytes all that waits may take: requests, what is written of them, and replies.", ge=16_777_216),
    ] = 268_435_456
    usage_retention: Annotated[float, span("How long usage is kept.", ge=86_400)] = 400 * 86_400
    message_limit: Annotated[int, about("How many bytes a request may have.", ge=1_024)] = 4_194_304
    watches_per_key: Annotated[int, about("How many watches of a key may be open at a process.", ge=1)] = 1_000
    watches_per_owner: (
        Annotated[int, about("How many watches of an owner without a quota may be open at a process.", ge=1)] | None
    ) = None
    claims_per_key: Annotated[int, about("How many claims of a key may wait at a process.", ge=1)] = 4_000
    unfinished_jobs_per_owner: (
        Annotated[int, about("How many unfinished jobs an owner without a quota may have.", ge=1)] | None
    ) = None
    stored_jobs_per_owner: (
        Annotated[int, about("How many jobs in all an owner without a quota may have.", ge=1)] | None
    ) = None
    artifact_bytes_per_owner: (
        Annotated[int, about("How many bytes of artifacts an owner without a quota may have.", ge=1)] | None
    ) = None
    rate_limit_read: (
        Annotated[str, about("How often a key may read, and how many at once: 100/second; 3000/minute.")] | None
    ) = None
    rate_limit_write: Annotated[str, about("How often a key may write.")] | None = None
    rate_limit_watch: Annotated[str, about("How often a key may open a watch.")] | None = None
    rate_limit_store: Annotated[str, about("Where rate limits are counted: memory, or redis://HOST:PORT/DB.")] = (
        "memory"
    )
    allow_file_artifacts: Annotated[bool, about("Allow file:// in the URIs of artifacts.")] = False
    indexed_labels: (
        Annotated[str, about("Names of labels, at most 4, separated by spaces, that `migrate` indexes.")] | None
    ) = None
    bulk_rate: Annotated[int, about("How many jobs a second a bulk run changes.", ge=1, le=100_000)] = 500
    artifact_roots: Annotated[
        str,
        about(
            "URL prefixes, separated by spaces, under which artifacts may be deleted, like s3://bucket/out/ or "
            "https://media.example/=s3://bucket/ when they are named by download addresses; the segment {owner} is "
            "wanted with keys, like s3://bucket/{owner}/."
        ),
    ] = ""
    artifact_roots_shared_by_all_owners: Annotated[
        bool, about("Let owners with keys delete each other's files below artifact_roots.")
    ] = False
    webhook_timeout: Annotated[float, span("How long a receiver of a delivery may take.", gt=0, le=300)] = 15
    webhook_concurrency: Annotated[int, about("How many deliveries are attempted at once.", ge=1, le=10_000)] = 64
    webhook_endpoint_concurrency: Annotated[
        int, about("How many deliveries of one webhook are attempted at once.", ge=1)
    ] = 8
    webhook_retry_window: Annotated[float, span("How long a failed delivery is tried again.", ge=0)] = 86_400
    webhook_retention: Annotated[float, span("How long deliveries are kept.", ge=0)] = 7 * 86_400
    secrets_keys: Annotated[
        str,
        about(
            "Keys of 32 bytes in base64, separated by spaces, that seal webhook secrets in the database; "
            "the first seals, all open."
        ),
    ] = ""
    webhook_allow_http: Annotated[bool, about("Allow http:// in the URLs of webhooks.")] = False
    webhook_allow_private_networks: Annotated[bool, about("Allow deliveries to addresses that are not public.")] = False
    log_level: Annotated[Literal["debug", "info", "warning", "error"], about("debug logs every call.")] = "info"
    log_format: Annotated[Literal["auto", "json", "pretty"], about("auto is pretty on a terminal.")] = "auto"
    access_log: Annotated[float, about("The share of calls that are logged, 0 to 1.", ge=0, le=1)] = 0
    tracing: Annotated[bool, about("Make OpenTelemetry spans of calls; needs the extra otel.")] = False
    metrics_listen: Annotated[str, about("Where Prometheus reads /metrics, HOST:PORT; off when none.")] | None = None
    metrics_kinds: Annotated[int, about("How many kinds have metrics of their own.", ge=0, le=1_000)] = 50
    metrics_insecure: Annotated[bool, about("Let other hosts read the metrics.")] = False
    health_database_lost: Annotated[
        float, span("How long the database may be lost before health is NOT_SERVING.", ge=0)
    ] = 30
    health_webhook_age: Annotated[float, span("Degraded when a webhook delivery has waited for longer.", gt=0)] = 21_600
    health_disk_free: Annotated[int, about("Degraded when fewer bytes are free on the disk.", ge=0)] = 1_073_741_824


SETTINGS: Final[Mapping[str, FieldInfo]] = {field.name: field for field in fields(Settings)}
"""The settings by name."""


def kind_of(name: str) -> tuple[Any, Meta]:
    """Return the type of a setting's values without None, and their description."""
    declared = SETTINGS[name].type
    kind, meta = get_args(declared if get_origin(declared) is Annotated else get_args(declared)[0])
    return kind, meta


def is_span(name: str) -> bool:
    """Whether a setting is a span of time, in seconds."""
    return kind_of(name)[1].extra is not None


class InvalidSettingsError(InvalidSettingError):
    """Values that settings cannot have: the name of each, the value, and the rule."""

    def __init__(self, problems: list[tuple[str, object, str]]) -> None:
        super().__init__("; ".join(f"{name}: {value!r}: {rule}" for name, value, rule in problems))
        self.problems = problems


def read_settings(arguments: Mapping[str, Any]) -> Settings:
    """Return the settings: the arguments, else the environment; raises InvalidSettingsError."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    values, problems = {}, []
    for name in SETTINGS:
        value = arguments.get(name)
        if value is None:
            value = environment.get(PREFIX + name.upper())
        if value is not None:
            try:
                values[name] = _read(name, value)
            except ValueError as error:
                problems.append((name, value, str(error)))
    if problems:
        raise InvalidSettingsError(problems)
    return Settings(**values)


def _read(name: str, value: Any) -> Any:  # noqa: ANN401  of the setting's type, or its text
    if isinstance(value, str) and is_span(name):
        value = seconds_of(value)
    elif isinstance(value, str) and kind_of(name)[0] is bool:
        value = _SWITCHES.get(value.lower(), value)
    try:
        return convert(value, SETTINGS[name].type, strict=False, dec_hook=lambda kind, text: kind(text))
    except ValidationError:
        raise ValueError(_rule(name)) from None


def _rule(name: str) -> str:
    """Return what a setting must be."""
    kind, said = kind_of(name)
    if choices := get_args(kind):
        return f"must be one of {', '.join(choices)}"
    what, shown = ("a span of time", text_of) if is_span(name) else (_KINDS[kind], "{:,}".format)
    bounds = {"more than": said.gt, "at least": said.ge, "at most": said.le}
    rules = [f"{word} {shown(bound)}" for word, bound in bounds.items() if bound is not None]
    return f"must be {', '.join([what, *rules])}"
