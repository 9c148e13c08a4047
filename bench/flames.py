"""`python -m bench.flames`: flame graphs of routing batches and of intake, sampled by py-spy, drawn into docs/."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from bench import parts, servers, steps
from bench.meter import Meter

ROOT = Path(__file__).resolve().parents[1]
#: Samples a second; an odd number does not beat in time with anything.
RATE = 499
#: The steps that are watched; a batch whose places are known is routed as soon as it is taken in.
WATCHED = ("take in", "route")
#: What each picture is of: its title, and the function that is its ground.
PICTURES = {
    "profile-intake.svg": ("Intake: change events into leads, and on", "Journey.intake (routing/journey.py)"),
    "profile-routing.svg": ("Routing: leads to members", "Dispatcher.route (routing/dispatcher.py)"),
}
WIDTH, ROW, HEAD, LETTER = 1200, 17, 40, 6.6
#: Narrower bars are left out.
LEAST = 1.5


@dataclass(slots=True)
class Bar:
    """A function in the place it was called from: samples in it and in what it calls."""

    samples: int = 0
    above: dict[str, "Bar"] = field(default_factory=dict)

    def add(self, stack: list[str], count: int) -> None:
        """Count samples of this stack, outermost function first."""
        self.samples += count
        if stack:
            self.above.setdefault(stack[0], Bar()).add(stack[1:], count)

    def height(self) -> int:
        """How many bars stand on each other."""
        return 1 + max((bar.height() for bar in self.above.values()), default=0)


def main() -> int:
    """Draw both pictures; 0 when they are there."""
    parser = argparse.ArgumentParser(prog="python -m bench.flames", description=__doc__)
    parser.add_argument("--size", choices=parts.SIZES, default="full")
    parser.add_argument("--leads", type=int, default=5_000)
    parser.add_argument("--into", type=Path, default=ROOT / "docs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairturn-flames-") as place:
        directory = Path(place)
        with servers.running(directory) as started:
            meter = Meter(started.database_url, started.redis_url)
            run = parts.Run(started, meter, parts.SIZES[chosen.size], directory, _say)
            with parts.house_of(run, "steps"), steps.stepping(meter, directory) as going:
                going.run(200)
                going.run(chosen.leads, around=lambda step: _sampled(directory / f"{step}.folded", step in WATCHED))
        stacks = "".join((directory / f"{step}.folded").read_text() for step in WATCHED)
        for file, (title, ground) in PICTURES.items():
            root = folded(stacks, ground)
            (chosen.into / file).write_text(drawn(root, title))
            _say(f"{chosen.into / file}: {root.samples} samples")
    return 0


def folded(text: str, ground: str) -> Bar:
    """The stacks of py-spy's raw format as bars, from the ground up; what was sampled elsewhere is left out."""
    root = Bar()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if not frame.startswith("<frozen ")]
        if ground in frames:
            root.add(frames[frames.index(ground) :], int(count))
    return root


def drawn(root: Bar, title: str) -> str:
    """An SVG of the bars: the ground below, what it calls on top of it; a bar's whole name and share on hovering."""
    height = HEAD + ROW * (root.height() - 1) + 10
    box, middle = f'viewBox="0 0 {WIDTH} {height}"', f'x="{WIDTH / 2:.0f}" y="22" text-anchor="middle"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fffdf7"/>',
        f'<text {middle} font-size="15">{escape(title)}, {root.samples} samples</text>',
        *_bars(root, root.samples, 0.0, 0, height),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bars(parent: Bar, whole: int, left: float, level: int, height: int) -> Iterator[str]:
    for name, bar in sorted(parent.above.items()):
        width = WIDTH * bar.samples / whole
        if width >= LEAST:
            yield _bar(name, bar.samples / whole, left, height - 10 - ROW * (level + 1), width)
            yield from _bars(bar, whole, left, level + 1, height)
        left += width


def _bar(name: str, share: float, left: float, top: float, width: float) -> str:
    told = f"{name}, {100 * share:.1f} %"
    fits = int((width - 4) / LETTER)
    shown = name if len(name) <= fits else name[: max(0, fits - 1)] + "…" if fits > 3 else ""
    text = f'<text x="{left + 2:.1f}" y="{top + 12:.1f}">{escape(shown)}</text>' if shown else ""
    return (
        f'<g><title>{escape(told)}</title><rect x="{left:.1f}" y="{top:.1f}" width="{max(width - 0.5, 0.5):.1f}" '
        f'height="{ROW - 1}" fill="{_colour(name)}" rx="1"/>{text}</g>'
    )


def _colour(name: str) -> str:
    """Ours is green, drivers and libraries are warm, Python's own is grey."""
    file = name.rpartition("(")[2]
    if file.startswith(("routing/", "storage/", "gateways/", "config/", "tasks/", "workers/")):
        return "#a7d49b"
    if file.startswith(("sqlalchemy/", "psycopg")):
        return "#f2c14e"
    if file.startswith(("redis/", "hiredis/", "kombu/", "celery/")):
        return "#ee8572"
    return "#f7d6a5" if "/" in file else "#d8d8d8"


@contextmanager
def _sampled(file: Path, wanted: bool) -> Iterator[None]:
    """Have py-spy look at this process meanwhile."""
    if not wanted:
        yield
        return
    program = str(Path(sys.executable).with_name("py-spy"))
    command = [program, "record", "--pid", str(os.getpid()), "--rate", str(RATE), "--nolineno"]
    with subprocess.Popen(
        [*command, "--format", "raw", "--output", str(file)], stdout=subprocess.PIPE, text=True
    ) as spy:
        assert spy.stdout
        spy.stdout.readline()  # "Sampling process": it looks
        yield
        spy.send_signal(signal.SIGINT)
        spy.communicate()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
