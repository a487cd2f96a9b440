"""The head of a job's page: its state, its times, its stages, its error and its artifacts."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.job_pb2 import Job
from jobledger_client import FailurePolicy, HoldReason, JobState
from nicegui import ui

from jobledger_console.components.facts import show_facts
from jobledger_console.components.messages import show_heading
from jobledger_console.components.states import show_state, words
from jobledger_console.elements import element
from jobledger_console.wording import clock, duration, local_time, percent, plural, rate, seconds, size, spoken

TimeField: TypeAlias = Literal["schedule_time", "start_time", "end_time", "expire_time"]
SpanField: TypeAlias = Literal["run_timeout", "attempt_timeout", "unique_window"]

_PREVIEWS: Final = {"image": "img", "audio": "audio", "video": "video"}
_MAX_JSON: Final = 20_000
_TIMES: Final[tuple[tuple[str, TimeField], ...]] = (
    ("Begins", "schedule_time"),
    ("Started", "start_time"),
    ("Ended", "end_time"),
    ("Expires", "expire_time"),
)
_SPANS: Final[tuple[tuple[str, SpanField], ...]] = (
    ("Run timeout", "run_timeout"),
    ("Attempt timeout", "attempt_timeout"),
    ("Unique window", "unique_window"),
)


def show_title(job: Job, *, is_deleted: bool) -> None:
    """Show the name, the state and the progress."""
    with ui.element("div").classes("row-of page-head"):
        show_heading(job.display_name or job.job_id, 1)
        show_state(JobState(job.state).name)
        if is_deleted:
            element("span", "deleted", classes="tag")
    progress = job.progress
    with ui.element("div").classes("progress big"):
        with element(
            "span", classes="track", role="progressbar", aria_valuemin="0", aria_valuemax="100",
            aria_valuenow=f"{progress.percent:.0f}", aria_label="Progress",
        ):  # fmt: skip
            ui.element("span").classes(f"fill fill-{JobState(job.state).name}").style(f"width: {progress.percent:.2f}%")
        element("span", percent(progress.percent), classes="percent")
    element("p", _sentence(job), classes="quiet")


def _sentence(job: Job) -> str:
    """Return how far the job is."""
    progress, chunks = job.progress, job.chunks_summary
    parts = [f"{chunks.completed:,} of {plural(chunks.total, 'chunk')}"]
    others = (("processing", chunks.processing), ("failed", chunks.failed), ("cancelled", chunks.cancelled))
    parts += [f"{count:,} {name}" for name, count in others if count]
    if progress.items_total:
        parts.append(f"{progress.items_completed:,} of {plural(progress.items_total, 'item')}")
    if progress.HasField("items_per_second"):
        parts.append(f"{rate(progress.items_per_second)} items/s")
    if progress.HasField("eta"):
        parts.append(f"done at {clock(progress.eta)}")
    if progress.message and not job.HasField("end_time"):
        parts.append(progress.message)
    return " · ".join(parts)


def show_about(job: Job) -> None:
    """Show the facts of the job, its input and its output."""
    show_facts(dict(facts(job)))
    _show_json("Input", job.input if job.HasField("input") else None)
    _show_json("Output", job.output if job.HasField("output") else None)


def facts(job: Job) -> list[tuple[str, str]]:
    """Return the facts of the job as names and texts; the title has those that change all the time."""
    named = [("Job", job.job_id), ("Kind", job.kind), ("Owner", job.owner), ("Priority", str(job.priority))]
    if job.holds:
        named.append(
            ("Waits for", ", ".join(_hold(words(HoldReason(hold.reason).name), hold.place) for hold in job.holds))
        )
    named.append(("Created", local_time(job.create_time)))
    named += [(name, local_time(getattr(job, field))) for name, field in _TIMES if job.HasField(field)]
    if job.HasField("start_time") and job.HasField("end_time"):
        named.append(("Took", spoken(seconds(job.end_time) - seconds(job.start_time))))
    if job.retry_count:
        named.append(("Retried", plural(job.retry_count, "time")))
    named.append(
        ("Attempts", f"{job.retry_policy.max_attempts} a chunk, {words(FailurePolicy(job.failure_policy).name)}")
    )
    named += [(name, duration(seconds(getattr(job, field)))) for name, field in _SPANS if job.HasField(field)]
    texts = (("Unique key", job.unique_key), ("Cancelled because", job.cancel_reason))
    named += [(name, text) for name, text in texts if text]
    if job.labels:
        named.append(("Labels", ", ".join(f"{name}={value}" for name, value in sorted(job.labels.items()))))
    return named


def _hold(reason: str, place: int) -> str:
    return f"{reason} (place {place:,})" if place else reason


def show_error_of(job: Job) -> None:
    """Show why the job failed."""
    if not job.HasField("error"):
        return
    with ui.element("section").classes("message error"):
        show_heading(f"Failed: {job.error.code}")
        if job.error.message:
            element("p", job.error.message, classes="pre")
        where = [f"chunk {job.error.chunk_index}"] if job.error.HasField("chunk_index") else []
        where += [f"stage {job.error.stage}"] if job.error.stage else []
        if where:
            element("p", "In " + ", ".join(where))


def stages(job: Job) -> list[tuple[str, float, float | None, bool]]:
    """Return each stage: name, share of the weights, measured seconds or None, and whether it is the current one."""
    timings = {timing.stage: round(seconds(timing.duration), 1) for timing in job.stage_timings}
    weights = {stage.name: stage.weight if stage.HasField("weight") else 1.0 for stage in job.stages}
    total = sum(weights.values()) or 1.0
    now = "" if job.HasField("end_time") else job.progress.stage
    names = [*weights, *(name for name in timings if name not in weights)]
    return [(name, weights.get(name, 0.0) / total, timings.get(name), name == now) for name in names]


def show_stages(job: Job) -> None:
    """Show the declared stages with their weights, and how long chunks spent in each."""
    rows = stages(job)
    if not rows:
        element("p", "No stages were declared or reported.", classes="quiet")
        return
    total = sum(measured or 0.0 for _, _, measured, _ in rows) or 1.0
    with ui.element("table").classes("data plain"):
        with ui.element("thead"), ui.element("tr"):
            for title in ("Stage", "Weight", "Measured", "Share of the time"):
                element("th", title, scope="col")
        with ui.element("tbody"):
            for name, weight, measured, is_now in rows:
                _show_stage(f"{name}{' ◂ now' if is_now else ''}", weight, measured, total)


def _show_stage(name: str, weight: float, measured: float | None, total: float) -> None:
    share = (measured or 0.0) / total
    with ui.element("tr"):
        element("td", name)
        element("td", f"{weight:.0%}" if weight else "-", classes="kind-number")
        element("td", "-" if measured is None else duration(measured), classes="kind-number")
        with ui.element("td"), ui.element("span").classes("progress"):
            with ui.element("span").classes("track"):
                ui.element("span").classes("fill fill-RUNNING").style(f"width: {share * 100:.1f}%")
            element("span", f"{share:.0%}", classes="percent")


def show_artifacts(artifacts: Iterable[tuple[str, Artifact]], result_uri: str = "") -> None:
    """Show outputs and previews by name. Only https is previewed, and only when somebody asks."""
    named = list(artifacts)
    if result_uri:
        named.insert(0, ("result", Artifact(uri=result_uri)))
    if not named:
        element("p", "No artifacts were reported.", classes="quiet")
        return
    with ui.element("ul").classes("artifacts"):
        for name, artifact in named:
            with ui.element("li"):
                _show_artifact(name, artifact)


def _show_artifact(name: str, artifact: Artifact) -> None:
    scheme = urlsplit(artifact.uri).scheme
    if scheme in ("http", "https"):
        element("a", name, href=artifact.uri, target="_blank", rel="noopener noreferrer", title=artifact.uri)
    else:
        element("strong", name)
        element("code", artifact.uri, classes="uri")
    about = [artifact.content_type] if artifact.content_type else []
    if artifact.HasField("size_bytes"):
        about.append(size(artifact.size_bytes))
    element("span", " · ".join(about), classes="quiet")
    tag = _PREVIEWS.get(artifact.content_type.partition("/")[0])
    if tag and scheme == "https":
        _show_preview(tag, name, artifact.uri)


def _show_preview(tag: str, name: str, uri: str) -> None:
    details = ui.element("details")
    with details:
        element("summary", "Preview")
        place = ui.element("div").classes("preview")
    is_shown = False

    def show() -> None:
        nonlocal is_shown
        if is_shown:
            return
        is_shown = True
        with place:
            preview = element(tag, src=uri, alt=name, referrerpolicy="no-referrer", preload="metadata", loading="lazy")
            if tag != "img":
                preview.props["controls"] = True

    details.on("toggle", lambda _: show())


def _show_json(title: str, value: Struct | None) -> None:
    """Show an input or an output, folded."""
    if value is None:
        return
    text = MessageToJson(value, indent=2)
    with ui.element("details"):
        element("summary", title)
        element("pre", text[:_MAX_JSON] + ("\n…" if len(text) > _MAX_JSON else ""))
