"""Check a built site: it loads nothing from elsewhere."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
STYLE = re.compile(r"(?:@import\s+|url\()\s*['\"]?(https?:)?//")


class Loads(HTMLParser):
    """Collects what a page loads from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of an element that a browser loads by itself."""
        values = dict(attrs)
        address = values.get(LOADS.get(tag, ""), "") or ""
        if tag == "link" and values.get("rel") != "canonical":
            address = values.get("href") or ""
        if "mermaid" in (values.get("class") or "").split():
            address = "https://unpkg.com/mermaid"  # where the theme loads it from
        if re.match(r"(https?:)?//", address):
            self.addresses.append(f"<{tag}> {address}")


def loads(path: Path) -> list[str]:
    """Return what a file of the site loads from other hosts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        return [match[0] for match in STYLE.finditer(text)]
    page = Loads()
    page.feed(text)
    return page.addresses


def main(site: Path) -> int:
    """Print what the pages and styles of a site load from elsewhere; return the exit status."""
    files = [path for suffix in ("html", "css", "svg") for path in sorted(site.rglob(f"*.{suffix}"))]
    problems = [f"{path}: {address}" for path in files for address in loads(path)]
    print("\n".join(problems or [f"{len(files)} pages, styles and pictures load nothing from elsewhere"]))
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
