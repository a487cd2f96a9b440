"""The model that writes storyboards, pretended: an API that refuses callers for a time when it is busy."""

from email.message import Message
from urllib.error import HTTPError

URL = "https://model.example/storyboards"
TOO_MANY_REQUESTS = 429


def storyboard(prompt: str, scene: int, attempt: int) -> str:
    """Return the storyboard. Raises HTTPError 429, with Retry-After, for the first request for the second scene."""
    if scene == 2 and attempt == 1:  # noqa: PLR2004  one of several, as it happens
        headers = Message()
        headers["Retry-After"] = "2"
        raise HTTPError(URL, TOO_MANY_REQUESTS, "Too Many Requests", headers, None)
    return f"scene {scene}: {prompt}"
