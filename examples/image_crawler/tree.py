"""The site that is crawled: a tree of images that the example makes for itself."""

from pathlib import Path

from PIL import Image

FOLDER_SIZE = 100


def make(root: Path, count: int) -> None:
    """Write so many small images, in folders."""
    for number in range(count):
        path = root / f"{number // FOLDER_SIZE:03}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (number * 7 % 256, number * 13 % 256, number * 29 % 256)
        Image.new("RGB", (24, 16), colour).save(path, compress_level=1)


def images(root: Path) -> list[Path]:
    """Walk the tree, always in the same order."""
    return sorted(root.rglob("*.png"))
