"""The pictures of a report, as SVG that needs nothing else: bars of change, days, and a map."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape

from routing.lead import Point
from routing.simulation.outcome import Beside
from routing.simulation.report import Dot

#: Bars in one picture, and dots on one map; tables have everything.
BARS, DOTS = 14, 6_000
#: Points of a line; a longer time is drawn by weeks or more.
POINTS = 120


def bars(rows: Sequence[Beside], what: str) -> str:
    """Offers of each row: as a change against before where there is one."""
    changed = [(row.name, amount) for row in rows if (amount := _amount(row))]
    shown = changed[:BARS]
    if not shown:
        return ""
    most = max(1, *(abs(n) for _, n in shown))
    signed = any(n < 0 for _, n in shown)
    height, zero, span = 22 * len(shown) + 8, (330 if signed else 150), (200 if signed else 400)
    parts = [_begin(600, height, what, f"{len(shown)} of {len(changed)}; the table below has all.")]
    for at, (name, amount) in enumerate(shown):
        y, length = 4 + 22 * at, span * abs(amount) / most
        x = zero if amount >= 0 else zero - length
        colour = "var(--more)" if amount >= 0 else "var(--less)"
        parts.append(f'<text x="4" y="{y + 15}">{escape(name[:18])}</text>')
        parts.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{max(length, 1):.1f}" height="15" rx="2" fill="{colour}"/>')
        tip = x + length + 5 if amount >= 0 else x - 5
        anchor = "start" if amount >= 0 else "end"
        text = f"{amount:+,d}" if rows[0].then is not None else f"{amount:,d}"
        parts.append(f'<text x="{tip:.1f}" y="{y + 15}" text-anchor="{anchor}">{text}</text>')
    parts.append(f'<line class="axis" x1="{zero}" y1="0" x2="{zero}" y2="{height}"/></svg>')
    return "".join(parts)


def _amount(row: Beside) -> int:
    return row.here.offers - (row.then.offers if row.then is not None else 0)


def days(here: Mapping[str, Mapping[str, int]], then: Mapping[str, Mapping[str, int]] | None) -> tuple[str, str]:
    """What is drawn, and the picture: offers a day, or in as many days as it takes, here and before."""
    known = sorted(here.keys() | (then or {}).keys())
    if not known:
        return "Offers a day", ""
    first, last = date.fromisoformat(known[0]), date.fromisoformat(known[-1])
    step_days = 1 + (last - first).days // POINTS
    names = [(first + timedelta(days=n)).isoformat() for n in range(0, (last - first).days + 1, step_days)]
    here = _together(here, first, step_days)
    then = _together(then, first, step_days) if then else None
    title = "Offers a day" if step_days == 1 else f"Offers, {step_days} days at a time"
    lines = [("var(--then)", then)] if then else []
    lines.append(("var(--here)", here))
    most = max(1, *(line.get(day, {}).get("offers", 0) for _, line in lines if line for day in names))
    width, height, left, low = 600, 240, 46, 206
    step = (width - left - 14) / max(1, len(names) - 1)
    parts = [_begin(width, height, title, f"From {known[0]} to {known[-1]}, at most {most:,}.")]
    for part in range(5):
        y = low - (low - 14) * part / 4
        parts.append(f'<line class="axis" x1="{left}" y1="{y:.1f}" x2="{width - 8}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="quiet" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{most * part / 4:,.0f}</text>'
        )
    for colour, line in lines:
        if line is not None:
            points = [
                f"{left + step * at:.1f},{low - (low - 14) * line.get(day, {}).get('offers', 0) / most:.1f}"
                for at, day in enumerate(names)
            ]
            parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
            if len(points) == 1:
                x, y1 = points[0].split(",")
                parts.append(f'<circle cx="{x}" cy="{y1}" r="4" fill="{colour}"/>')
    for at in sorted({0, len(names) // 2, len(names) - 1}):
        anchor = "start" if at == 0 else "end" if at == len(names) - 1 else "middle"
        place = left + step * at
        parts.append(f'<text class="quiet" x="{place:.1f}" y="{height - 12}" text-anchor="{anchor}">{names[at]}</text>')
    return title, "".join((*parts, "</svg>"))


def _together(days_: Mapping[str, Mapping[str, int]], first: date, step: int) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for day, counts in days_.items():
        n = (date.fromisoformat(day) - first).days // step * step
        book = found.setdefault((first + timedelta(days=n)).isoformat(), {})
        book["offers"] = book.get("offers", 0) + counts.get("offers", 0)
    return found


def chart_map(dots: Sequence[Dot], members: Sequence[Point]) -> str:
    """Every lead where it is, by who was offered it first then and here; members as triangles."""
    if not dots:
        return ""
    step = math.ceil(len(dots) / DOTS)
    shown = dots[::step]
    lats, lons = [d.lat for d in shown], [d.lon for d in shown]
    south, north, west, east = _bounds(lats, 0.02), _bounds(lats, 0.98), _bounds(lons, 0.02), _bounds(lons, 0.98)
    lean = max(0.1, math.cos(math.radians((south + north) / 2)))
    tall, wide = max(north - south, 0.05) * 1.2, max(east - west, 0.05) * 1.2 * lean
    width = 900.0
    scale = width / wide
    height = min(760.0, max(260.0, tall * scale))
    scale = min(scale, height / tall)
    middle = ((south + north) / 2, (west + east) / 2)

    def place(lat: float, lon: float) -> tuple[float, float]:
        return width / 2 + (lon - middle[1]) * lean * scale, height / 2 - (lat - middle[0]) * scale

    told = f"{len(shown):,} of {len(dots):,} leads, and {len(members):,} places of members. North is up."
    parts = [_begin(width, height, "Map of leads", told)]
    for colour, mine in _kinds(shown):
        spots = (place(d.lat, d.lon) for d in mine)
        inside = [(x, y) for x, y in spots if 0 <= x <= width and 0 <= y <= height]
        path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in inside)
        if path:
            parts.append(
                f'<path d="{path}" stroke="{colour}" stroke-width="6" stroke-linecap="round" stroke-opacity=".62"/>'
            )
    corners = (place(p.lat, p.lon) for p in members)
    path = "".join(f"M{x:.1f} {y - 6:.1f}l5 10h-10z" for x, y in corners if 0 <= x <= width and 0 <= y <= height)
    parts.append(f'<path d="{path}" fill="none" stroke="var(--ink)" stroke-width="1.4"/>')
    length = _round_miles(120 / scale * 69.0)
    bar = length / 69.0 * scale
    parts.append(f'<path d="M14 {height - 16:.0f}h{bar:.0f}" stroke="var(--ink)" stroke-width="3"/>')
    parts.append(f'<text x="{20 + bar:.0f}" y="{height - 11:.0f}">{length:g} mi</text></svg>')
    return "".join(parts)


def _kinds(dots: Sequence[Dot]) -> list[tuple[str, list[Dot]]]:
    """Those who come to the same member last drawn below, whoever comes to nobody on top."""
    same = [d for d in dots if d.here is not None and d.here == d.then]
    other = [d for d in dots if d.here is not None and d.here != d.then]
    nobody = [d for d in dots if d.here is None]
    return [("var(--then)", same), ("var(--here)", other), ("var(--miss)", nobody)]


def _bounds(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def _round_miles(about: float) -> float:
    power = 10 ** math.floor(math.log10(max(about, 1e-3)))
    return float(next((n * power for n in (5, 2, 1) if n * power <= about), power))


def _begin(width: float, height: float, title: str, described: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {width:.0f} {height:.0f}" aria-label="{escape(f"{title}. {described}", True)}">'
        f"<title>{escape(title)}</title><desc>{escape(described)}</desc>"
    )
