"""The bounds that the contract states, each in one place."""

import re
from typing import Final

ITEMS_PER_CHUNK: Final = 500
MAX_CHUNKS: Final = 10_000
MAX_ITEMS: Final = 1_000_000_000
MAX_ITEMS_OF_JOB: Final = 1_000_000_000_000  # keeps work_done, items × 1,000,000, within 64 bits
MAX_INPUT_BYTES: Final = 64 * 1024
MAX_LABELS: Final = 64
MAX_STAGES: Final = 100
MAX_TIMED_STAGES: Final = 100
MAX_JOB_ARTIFACTS: Final = 100
MAX_CHUNK_ARTIFACTS: Final = 50
# So that an event with a job, one of its chunks and what happened to it is never larger than 1 MiB.
MAX_JOB_ARTIFACT_BYTES: Final = 512 * 1024
MAX_CHUNK_ARTIFACT_BYTES: Final = 256 * 1024

MIN_PRIORITY: Final = 0
MAX_PRIORITY: Final = 10
DEFAULT_PRIORITY: Final = 5

SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR
MAX_TIME: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999: no later time can be shown. A job's own times begin with 1970."""
MAX_DURATION: Final = 315_576_000_000 * SECOND
"""10,000 years, the longest Duration."""
MAX_SIZE_BYTES: Final = 2**53
"""Of an artifact; numbers up to this are exact wherever JSON is read."""
DEFAULT_LEASE: Final = 60 * SECOND
DEFAULT_GRACE: Final = 30 * SECOND

MAX_REPLY_BYTES: Final = 3 * 1024 * 1024
"""An answer has no more bytes: gRPC's clients take 4 MiB, unless they are told otherwise."""
CHUNKS_IN_VIEW: Final = 1_000
CHUNK_RANGES_FROM: Final = 50
"""Chunks that went to one state together are told as ranges when there are this many."""


KEY_ID: Final = re.compile(r"[0-9a-f]{12}")

OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
