"""Pictures and sound: frames that are drawn, and encoded as animated GIF."""

import io
import math
import wave
from array import array
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageSequence

SIZE = (320, 180)
FRAMES = 12  # per second
RATE = 8_000  # samples per second


def frames(prompt: str, scene: int, seconds: float) -> Iterator[Image.Image]:
    """Draw the frames of a scene: the words of the prompt cross a sky whose colour is the scene's."""
    words = prompt.split() or ["…"]
    count = round(seconds * FRAMES)
    for number in range(count):
        image = Image.new("RGB", SIZE, f"hsl({(scene * 67) % 360}, 60%, {30 + 30 * number // count}%)")
        draw = ImageDraw.Draw(image)
        x = SIZE[0] * number // count
        draw.ellipse((x - 30, 100, x + 30, 160), fill="gold")
        draw.text((16, 20), f"{scene}. {words[number * len(words) // count]}", fill="white")
        yield image


def encode(pictures: Sequence[Image.Image]) -> bytes:
    """Return the pictures as an animated GIF."""
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=1_000 // FRAMES, loop=0, optimize=False
    )
    return buffer.getvalue()


def thumbnail(picture: Image.Image) -> bytes:
    """Return a small PNG."""
    small = picture.copy()
    small.thumbnail((64, 64))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


def soundtrack(seconds: float) -> bytes:
    """Return a WAV: an arpeggio that fades."""
    notes = [262, 330, 392, 523]
    samples = array("h")
    for n in range(int(seconds * RATE)):
        note = notes[(n * 4 // RATE) % len(notes)]
        samples.append(int(12_000 * math.exp(-4 * (n % (RATE // 4)) / RATE) * math.sin(2 * math.pi * note * n / RATE)))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples.tobytes())
    return buffer.getvalue()


def join(videos: Sequence[bytes]) -> bytes:
    """Return one video of several."""
    pictures = []
    for video in videos:
        with Image.open(io.BytesIO(video)) as opened:
            pictures += [picture.convert("RGB") for picture in ImageSequence.Iterator(opened)]
    return encode(pictures)


def frames_in(video: bytes) -> int:
    """Count the frames of a video."""
    with Image.open(io.BytesIO(video)) as opened:
        return int(getattr(opened, "n_frames", 1))
