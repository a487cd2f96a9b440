"""The settings: flags of the command line, else `JOBLEDGER_*` in the environment, else the defaults."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """All settings of a server; durations in seconds, None for ever."""

    model_config = SettingsConfigDict(env_prefix="JOBLEDGER_", frozen=True)

    database: str = Field("sqlite:///jobledger.db", description="Where the ledger is kept: sqlite:///FILE.")
    listen: str = Field("127.0.0.1:7070", description="The address to serve on, HOST:PORT; port 0 picks a free one.")
    processes: int = Field(1, ge=1, le=64, description="How many processes serve on the address; PostgreSQL only.")
    shared_port: bool = Field(default=False, description="Let other processes of this machine serve on the port too.")
    insecure: bool = Field(default=False, description="Serve other hosts too, without keys or TLS.")
    bookmark_interval: float = Field(10, gt=0, le=15, description="How long a watch may be quiet before a bookmark.")
    duty_interval: float = Field(0.5, gt=0, description="How often leases, retries and cancellations are looked after.")
    retention_interval: float = Field(5, gt=0, description="How often expired jobs and old history are looked after.")
    event_retention: float = Field(7 * 86_400, ge=0, description="How long history is kept; watches resume within it.")
    completed_retention: float | None = Field(None, ge=0, description="How long COMPLETED jobs are kept.")
    failed_retention: float | None = Field(None, ge=0, description="How long FAILED jobs are kept.")
    cancelled_retention: float | None = Field(None, ge=0, description="How long CANCELLED jobs are kept.")
    drain_timeout: float = Field(20, ge=0, description="How long calls may take to finish when the server stops.")
    queue_limit: int = Field(10_000, ge=1, description="How many writes may wait before more are refused.")
    allow_file_artifacts: bool = Field(default=False, description="Allow file:// in the URIs of artifacts.")
    webhook_timeout: float = Field(15, gt=0, le=300, description="How long a receiver of a delivery may take.")
    webhook_concurrency: int = Field(64, ge=1, le=10_000, description="How many deliveries are attempted at once.")
    webhook_endpoint_concurrency: int = Field(8, ge=1, description="The same for each webhook.")
    webhook_initial_backoff: float = Field(5, ge=0, description="The wait after a delivery's first failed attempt.")
    webhook_retry_window: float = Field(86_400, ge=0, description="How long a failed delivery is tried again.")
    webhook_pause_after: float = Field(72_000, ge=0, description="How long a webhook fails before it is paused.")
    webhook_retention: float = Field(7 * 86_400, ge=0, description="How long deliveries are kept.")
    webhook_allow_http: bool = Field(default=False, description="Allow http:// in the URLs of webhooks.")
    webhook_allow_private_networks: bool = Field(
        default=False, description="Deliver to addresses that are not public, too."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug logs every call.")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto is pretty on a terminal.")
