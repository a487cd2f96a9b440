"""The work on one image, and what it adds up to."""

import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from PIL import Image


@dataclass(frozen=True)
class Totals:
    """What some images add up to; `digest` adds up their SHA-256, so that the order does not matter."""

    images: int = 0
    bytes: int = 0
    thumbnail_bytes: int = 0
    digest: int = 0

    def __add__(self, other: Self) -> "Totals":
        sums = (mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True))
        count, size, small, digest = sums
        return Totals(count, size, small, digest % 2**64)


def crawl(path: Path) -> Totals:
    """Hash an image and make its thumbnail. Raises OSError for what is no image."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        picture.thumbnail((8, 8))
        small = io.BytesIO()
        picture.save(small, "PNG", compress_level=1)
    return Totals(1, len(content), len(small.getvalue()), int.from_bytes(hashlib.sha256(content).digest()[:8]))
