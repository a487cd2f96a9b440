"""Structured logs on standard error: JSON for machines, colours for a terminal."""

import logging
import sys
from typing import Final, Literal

import structlog

OWN_LOGGER: Final = "jobledger_service"
"""The logger above all of ours."""


def set_up(level: str, form: Literal["auto", "json", "pretty"]) -> None:
    """Send all logs, of the service and of libraries, through structlog.

    At debug, libraries stay at info: the logs of bucket drivers would show the tokens of their requests.
    """
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[structlog.typing.Processor] = (
        # Its own choice of tracebacks shows local variables, with what callers sent and the database's URL.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel("INFO" if level == "debug" else level.upper())
    logging.getLogger(OWN_LOGGER).setLevel(level.upper())
    logging.getLogger("alembic").setLevel("WARNING")
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *(processor for processor in shared if not isinstance(processor, structlog.stdlib.ExtraAdder)),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Return False for what gRPC logs as an error when a caller leaves before the reply is sent."""
    return not (record.exc_info and record.exc_info[0] and record.exc_info[0].__name__ == "ExecuteBatchError")
