"""The health of a server as text or JSON, for the command line."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from jobledger.v1 import system_health_pb2 as api
from jobledger_client import SystemStatus

HEALTHY = SystemStatus.HEALTHY


def as_json(health: api.SystemHealth) -> str:
    """Return the findings as one JSON object, with the names of the contract."""
    return MessageToJson(health, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def as_text(health: api.SystemHealth) -> str:
    """Return the findings as lines for people."""
    database, committer, feed = health.database, health.committer, health.feed
    status = SystemStatus(health.status).name.lower()
    lines = [status, *(f"  {reason}" for reason in health.reasons), ""]
    up = (health.check_time.ToMicroseconds() - health.start_time.ToMicroseconds()) / 1e6
    rows = [("version", f"{health.version}, up for {up:,.0f} s")]
    if database.reachable:
        rows += [
            ("database", f"{database.kind}, schema {database.schema_version}, answers in {_seconds(database.latency)}"),
            ("size", f"{database.size_bytes:,} bytes"),
        ]
    else:
        rows.append(("database", f"{database.kind}, does not answer"))
    if database.HasField("disk_free_bytes"):
        rows.append(("disk", f"{database.disk_free_bytes:,} bytes free"))
    rows += [
        ("label index", f"{one.name}, {'ready' if one.ready else 'being built'}") for one in database.label_indexes
    ]
    rows.append(("writes", f"{committer.queued:,} of {committer.queue_limit:,} wait"))
    if committer.HasField("last_commit_age"):
        took = _seconds(committer.last_commit_duration)
        rows.append(
            ("last commit", f"{committer.last_batch_size} in {took}, {committer.last_commit_age.ToSeconds():,} s ago")
        )
    rows += [
        ("feed", f"at {feed.position:,}, {feed.lag:,} behind, {feed.watchers:,} watchers"),
        ("workers", f"{health.active_workers:,} active"),
    ]
    if health.webhooks.pending:
        age = health.webhooks.oldest_age.ToSeconds()
        rows.append(("webhooks", f"{health.webhooks.pending:,} deliveries wait, the oldest for {age:,} s"))
    if health.webhooks.dead:
        rows.append(("webhooks", f"{health.webhooks.dead:,} deliveries are dead"))
    rows += [("component", f"{one.name}: {one.problem or 'works'}") for one in health.components]
    rows += [("replica", f"{one.name}, version {one.version}") for one in health.replicas]
    return "\n".join([*lines, *(f"{name:12} {value}" for name, value in rows)])


def _seconds(duration: Duration) -> str:
    return f"{duration.ToMicroseconds() / 1000:.1f} ms"
