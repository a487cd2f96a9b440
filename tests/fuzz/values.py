"""Values of single fields: plausible ones by the field's name, and odd ones by its type."""

import math
import time
from base64 import b64decode, urlsafe_b64encode
from random import Random

from google.protobuf.descriptor import FieldDescriptor

KINDS = ("fuzz.shared", "fuzz.b", "fuzz.c")
"""All owners use the same, so that a claim or a list that crosses owners finds something."""
WORDS: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "worker": ("worker-1", "worker-2"),
    "uri": ("s3://bucket/a", "https://media.example/b.mp4", "gs://bucket/c?d=%20"),
    "result_uri": ("s3://bucket/result",),
    "url": ("http://127.0.0.1:9/hook", "https://hooks.invalid/hook"),  # nobody listens at either
    "content_type": ("video/mp4", "text/plain; charset=utf-8"),
    "code": ("BOOM", "OUT_OF_MEMORY"),
    "stage": ("fetch", "work", "store"),
    "each_value_of_label": ("team",),
    "limited_label": ("team",),
    "column": ("job_id", "state", "percent", "input", "labels"),
    "label_column": ("team",),
    "request_id": ("r1", "r2", "r3"),
    "owner": ("", "", "", "", "", "", "mallory", "ally", "bystander"),
    "served_owner": ("mallory", "ally"),
    "version": ("1.2",),
    "host": ("rack-1",),
    "unique_key": ("nightly", "weekly"),
    "service": ("", "jobledger.v1.JobService"),
    "file_containing_symbol": ("jobledger.v1.JobService",),
    "file_by_filename": ("jobledger/v1/job.proto",),
    "name": ("key-1", "key-2"),
    "filter": ("", "done=true", "state=RUNNING OR state=QUEUED"),
    "resume_token": ("",),
    "page_token": ("",),
    "cursor": ("",),
    "etag": ("",),
    "uid": ("",),
    "search": ("part", "mallory", "a b"),
}
KNOWN = {
    "page_token": 0.1,
    "resume_token": 0.1,
    "request_id": 0.1,
    "owner": 0.1,
    "etag": 0.1,
    "uid": 0.3,
    "cursor": 0.2,
}
"""How often a field gets what was seen in an answer; half the time where nothing is said."""
UPDATABLE = ("priority", "display_name", "labels", "labels.team", "labels.n", "expire_time", "schedule_time")
"""Paths of a mask for jobs."""
EXCLUSIVE = (
    ("kinds", "job_ids"), ("filter", "job_ids"), ("item_count", "chunks"), ("cursor", "from_now"),
    ("owner", "all_owners"), ("served_owners", "all_owners"),
)  # fmt: skip
"""Fields of which a request may have one."""
NUMBERS: dict[str, tuple[float, float]] = {
    "item_count": (1, 30), "chunk_size": (1, 5), "page_size": (0, 5), "max_chunks": (1, 20), "max_attempts": (1, 3),
    "priority": (0, 10), "min_priority": (0, 4), "max_priority": (5, 10), "max_running": (1, 5), "percent": (0, 100),
    "stage_percent": (0, 100), "multiplier": (1, 3), "jitter": (0, 1), "weight": (1, 9), "progress_percent": (1, 99),
    "items_completed": (0, 2), "chunk_indexe": (0, 2), "retry_count": (0, 2), "chunk_index": (0, 2), "index": (0, 2),
}  # fmt: skip
TEXTS = (
    "", " ", "\x00", "a\x00b", "owner/x\x00", "\x1b[2J", "\r\n", "\x7f\x80\x9f", "\u2028", "\ufeff", "\ufffe",
    "\U0010ffff", "e\u0301", "\u0130\u0131\u017f\u212a", "\u202eabc\u202c", "\u200f\u05d0\u0627", "👩\u200d👧",
    "%s%n{0}", "'; DROP TABLE jobs; --", '"', "\\", "%", "_", "NULL", "null", "NaN", "../../etc/passwd",
    "file:///etc/passwd", "jobledger.bulk", "jobledger.artifacts", "[" * 500, "{" * 500, '{"a":' * 200,
    "kind:", "label:=", "label:a=\x00",
    "-1", "1e999", "9" * 40, "mallory/x", "bystander/x", "operations/", "operations/x", "*", "a.b.c", "http://[::1",
    "https://user:pass@host/", "s3://", "//", "\N{CYRILLIC SMALL LETTER A}dmin", "\ud7ff\ue000",
)  # fmt: skip
LENGTHS = (1, 63, 64, 65, 128, 129, 255, 257, 1_024, 1_025, 2_049, 4_097, 65_537, 300_000)
DOUBLES = (
    math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, -1.0, 100.0000001, 2.0**53 + 2, 1e-9, 0.0,
)  # fmt: skip
SECONDS = (
    0, 1, -1, -(2**63), 2**63 - 1, 2**31, 2**53 + 1, 253_402_300_799, 253_402_300_800, -62_135_596_800, -62_135_596_801,
    315_576_000_000, -315_576_000_001, 9_223_372_036_854, 9_223_372_036_855, 86_400, 86_401, 299, 301,
)  # fmt: skip
NANOS = (0, 1, -1, 999, 999_999_999, 1_000_000_000, -999_999_999, 2**31 - 1, -(2**31))

_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
_AROUND = (-1, 0, 1, 2, 11, 100, 101, 501, 1_001, 10_001, 10**6, 10**9, 10**9 + 1, 10**12, 2**31, 2**32, 2**53 + 1)


def odd_integer(rng: Random, cpp_type: int) -> int:
    """Return an integer at an edge, of the type or of a rule."""
    lowest, highest = _BITS[cpp_type]
    return min(max(rng.choice((lowest, highest, lowest + 1, highest - 1, *_AROUND)), lowest), highest)


def odd_text(rng: Random, known: str) -> str:
    """Return a text that rules seldom think of; `known` is one that was seen in an answer."""
    match rng.randrange(6):
        case 0:
            return "x" * rng.choice(LENGTHS)
        case 4 if known:
            return forged(rng, known)
        case 1:
            return rng.choice(("\U0001f600", "\x01", "é", "|", "/", "[")) * rng.choice(LENGTHS[:8])
        case 2 | 3 if known:
            return mutated_text(rng, known)
        case _:
            return rng.choice(TEXTS)


def mutated_text(rng: Random, text: str) -> str:
    """Return a text with one thing about it changed: how a token or an id is forged."""
    place = rng.randrange(len(text) + 1)
    match rng.randrange(6):
        case 0:
            return text[:place]
        case 1:
            return text[:place] + rng.choice(TEXTS) + text[place:]
        case 2:
            return text[:place] + rng.choice("09azAZ_-./:=\x00é") + text[place + 1 :]
        case 3:
            digits = [n for n, one in enumerate(text) if one.isdigit()]
            at = rng.choice(digits or [0])
            return text[:at] + str(rng.choice((2**31, 2**40, 2**63, -1))) + text[at + 1 :]
        case 4:
            return text + text
        case _:
            return text.swapcase()


def forged(rng: Random, token: str) -> str:
    """Return a token in base64, as many are, whose content was changed: some number, some text, or all of it."""
    try:
        raw = b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = token.encode()
    content = rng.choice(
        (
            raw + b"\x00",
            raw[: max(0, len(raw) - 4)] + rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00")),
            raw[:9] + rng.choice((b"\xff\xff\xff\xff", b"\x80\x00\x00\x00")) + raw[13:],
            raw[:1] + b"\x7f" + b"\xff" * 7 + raw[9:],
            rng.choice(TEXTS).encode(errors="ignore"),
            mutated_bytes(rng, raw),
        )
    )
    return urlsafe_b64encode(content).decode().rstrip("=")


def mutated_bytes(rng: Random, raw: bytes) -> bytes:
    """Return bytes with one thing about them changed."""
    place = rng.randrange(len(raw) + 1)
    match rng.randrange(5):
        case 0:
            return raw[:place]
        case 1:
            return raw[:place] + rng.randbytes(rng.randint(1, 9)) + raw[place:]
        case 2:
            return raw[:place] + bytes([rng.randrange(256)]) + raw[place + 1 :]
        case 3:
            return raw[:place] + raw[place // 2 : place] + raw[place:]
        case _:
            return rng.randbytes(rng.choice((1, 8, 16, 100)))


def plausible_number(rng: Random, name: str, *, whole: bool) -> float:
    """Return a number that the field may well take."""
    low, high = NUMBERS.get(name, (0, 3))
    return rng.randint(int(low), int(high)) if whole else rng.uniform(low, high)


def plausible_seconds(rng: Random, *, timestamp: bool) -> int:
    """Return seconds of a time not far from now, or of a short duration."""
    return round(time.time()) + rng.randint(-600, 600) if timestamp else rng.randint(1, 3)
