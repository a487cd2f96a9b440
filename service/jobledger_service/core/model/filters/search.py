"""The words of a text, and how a search matches them: the same on every database and in a watch."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Final

MAX_WORD_LENGTH: Final = 64
"""The characters of a word that count."""
MAX_WORDS: Final = 1_000
"""The number of different words of one job that count, the first ones."""
MAX_SEARCH: Final = 256
"""Characters of what is searched for."""
MAX_SEARCH_WORDS: Final = 16
"""The maximum number of different words in one search."""

# scripts that write without spaces: each character is a word
_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UUID: Final = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-z])")
_ASCII_WORD: Final = re.compile(f"([a-z0-9]{{1,{MAX_WORD_LENGTH}}})[a-z0-9]*")


def words(*texts: str) -> tuple[str, ...]:
    """Return the different words of texts, in their order, without case and accents.

    A word is a run of letters and digits, or a UUID without its dashes: its parts would match short numbers. Folding is
    Unicode's case folding and compatibility decomposition, less the nonspacing marks.
    """
    text = "\n".join(texts)
    is_ascii = text.isascii()
    text = text.lower() if is_ascii else _folded(text)
    if "-" in text:
        text = _UUID.sub(lambda uuid: uuid[0].replace("-", ""), text)
    matches = _ASCII_WORD.findall(text) if is_ascii else [word[:MAX_WORD_LENGTH] for word in _word().findall(text)]
    return tuple(dict.fromkeys(matches))[:MAX_WORDS]


@cache
def _word() -> re.Pattern[str]:
    """Return the pattern of a word of any script, compiled when it is first needed: that takes 5 ms."""
    return re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold()).casefold()
    return "".join(character for character in apart if unicodedata.category(character) != "Mn")


def match_prefixes(searched: Iterable[str], among: Iterable[str]) -> bool:
    """Whether each searched word is a prefix of one of the others."""
    there = tuple(among)
    return all(any(word.startswith(part) for word in there) for part in searched)


def owner_mark(owner: str) -> str:
    """Return the mark of an owner among the words of its jobs. No word has its first character."""
    return f"§o{_digest(owner)}"


def unique_key_mark(unique_key: str) -> str:
    """Return the mark of a unique key among the words of its jobs."""
    return f"§u{_digest(unique_key)}"


def error_code_mark(code: str) -> str:
    """Return the mark of an error's code among the words of the jobs that failed with it."""
    return f"§e{_digest(code)}"


def label_marks(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the marks of labels among the words of a job. Each begins with the mark of its name."""
    return tuple(label_name_mark(name) + _digest(name, value) for name, value in labels.items())


def label_name_mark(name: str) -> str:
    """Return what the marks of all labels with a name begin with, and no other's."""
    return f"§l{_digest(name)}"


def label_digest(name: str, value: str) -> int:
    """Return the number that stands for a value of a label in the index of its name."""
    return int.from_bytes(bytes.fromhex(_digest(name, value)), signed=True)


@lru_cache(maxsize=4_096)
def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
