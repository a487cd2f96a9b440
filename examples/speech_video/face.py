"""Video: a face whose mouth opens with the sound, as uncompressed Y4M, which players and ffmpeg read."""

from collections.abc import Sequence

WIDTH, HEIGHT = 48, 36
HEADER = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Cmono\n".encode()
EYES, MOUTH = range(9, 11), 22  # rows
SKIN, DARK = b"\xc0", b"\x20"
FRAME = len(b"FRAME\n") + WIDTH * HEIGHT


def frame(level: float) -> bytes:
    """Return one frame; `level`, 0 to 1, is how far the mouth is open."""
    open_rows = round(min(level * 2, 1) * 10)
    rows = []
    for row in range(HEIGHT):
        if row in EYES:
            rows.append(SKIN * 12 + DARK * 4 + SKIN * 16 + DARK * 4 + SKIN * 12)
        elif MOUTH <= row <= MOUTH + open_rows:
            rows.append(SKIN * 16 + DARK * 16 + SKIN * 16)
        else:
            rows.append(SKIN * WIDTH)
    return b"FRAME\n" + b"".join(rows)


def join(videos: Sequence[bytes]) -> bytes:
    """Return one video of several."""
    return HEADER + b"".join(video.removeprefix(HEADER) for video in videos)


def frames_in(video: bytes) -> int:
    """Count the frames of a video."""
    return (len(video) - len(HEADER)) // FRAME
