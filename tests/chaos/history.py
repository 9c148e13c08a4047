"""What was tried, when, and what came of it: a file of JSON lines that the checkers read when all is over."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class History:
    """Appends lines; clients, nemeses and the run itself write from several threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()

    def note(self, who: str, what: str, **facts: Any) -> float:
        """Write one line; the time that stands in it."""
        with self._lock:
            at = time.time()
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"t": round(at, 6), "who": who, "what": what, **facts}) + "\n")
        return at

    def lines(self, who: str = "", what: str = "") -> Iterator[dict[str, Any]]:
        """The lines by time, of one writer or about one thing where named. A line cut short by a kill is left out."""
        found = []
        for text in self.file.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if who in {"", line["who"]} and what in {"", line["what"]}:
                found.append(line)
        return iter(sorted(found, key=lambda line: float(line["t"])))
