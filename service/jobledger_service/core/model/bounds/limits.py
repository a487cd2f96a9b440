"""The bounds that the contract states."""

import re
from typing import Final

ITEMS_PER_CHUNK: Final = 500
MAX_CHUNKS: Final = 10_000
MAX_ITEMS: Final = 1_000_000_000
MAX_ITEMS_OF_JOB: Final = 1_000_000_000_000  # keeps work_done, items × 1,000,000, within 64 bits
MAX_INPUT_BYTES: Final = 64 * 1024
MAX_OUTPUT_BYTES: Final = 64 * 1024
MAX_CHECKPOINT_BYTES: Final = 4 * 1024
MAX_LABELS: Final = 64
MAX_STAGES: Final = 100
MAX_TASK_ID: Final = 256
MAX_TIMED_STAGES: Final = 100
MAX_JOB_ARTIFACTS: Final = 100
MAX_CHUNK_ARTIFACTS: Final = 50
# so that an event with a job, one of its chunks and its change is at most 1 MiB
MAX_JOB_ARTIFACT_BYTES: Final = 512 * 1024
MAX_CHUNK_ARTIFACT_BYTES: Final = 256 * 1024

MIN_PRIORITY: Final = 0
MAX_PRIORITY: Final = 10
MAX_OWNERS: Final = 100
"""The number of owners by name that one worker may serve."""
DEFAULT_PRIORITY: Final = 5

SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR
MAX_TIME: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999, the latest time that can be shown. A job's own times start in 1970."""
MAX_DURATION: Final = 315_576_000_000 * SECOND
"""10,000 years, the longest Duration."""
MAX_SIZE_BYTES: Final = 2**53
"""The bound of an artifact's numbers; up to this they are exact in every JSON."""
DEFAULT_LEASE: Final = 60 * SECOND
DEFAULT_GRACE: Final = 30 * SECOND
MAX_TIMEOUT: Final = 366 * DAY

MAX_REPLY_BYTES: Final = 3 * 1024 * 1024
"""The maximum size of a reply: gRPC clients accept 4 MiB by default."""
CHUNKS_IN_VIEW: Final = 1_000
CHUNK_RANGES_FROM: Final = 50
"""The number of chunks from which an event lists chunks that changed to one state as ranges."""


KEY_ID: Final = re.compile(r"[0-9a-f]{12}")

OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MAX_SUM: Final = 2**62 - 1
"""The limit of stored sums, in both directions: two of them added still fit into 64 bits."""
MAX_FILTER_JOB_IDS: Final = 500
