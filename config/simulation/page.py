"""A simulation's report as one page that needs nothing else: no network, light and dark, readable without pictures."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from config.simulation.drawings import bars, chart_map, days
from config.simulation.figures import signed
from routing.lead import Point
from routing.simulation.compared import summed
from routing.simulation.outcome import Beside, Sum, Turns, areas_beside, members_beside
from routing.simulation.past import moment
from routing.simulation.report import LISTED, Report

_AREAS = {"postal": "postal prefix", "region": "region", "ring": "ring"}
_COLUMNS = (
    ("offers", "offers"),
    ("accepts", "accepted"),
    ("silent", "no answer"),
    ("wait_min", "wait, min"),
    ("miles", "miles"),
)


def page(report: Report) -> str:
    """The whole page."""
    name = escape(report.name)
    since, until = moment(report.past.since), moment(report.past.until)
    body = "".join(
        (
            f"<header><h1>{name}, from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC</h1>{_lead_in(report)}",
            f'<div class="tiles">{"".join(_tiles(report))}</div></header><main>',
            _pictures(report),
            _map(report),
            _reproduction(report),
            _members(report),
            *(_area(report, by) for by in _AREAS),
            _fairness(report),
            _assumption(report),
            f"</main><footer>{_notes(report)}</footer>",
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">"
        f"<title>Simulation: {name}</title><style>{_asset('page.css')}</style></head><body>{body}"
        f"<script>{_asset('page.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (files("config.simulation") / name).read_text("utf-8")


def _lead_in(report: Report) -> str:
    beside = f"beside {report.beside}" if report.then else "with nothing to compare with"
    answered = (
        f"{report.reused:,} offers were answered as the same member answered the same lead; "
        f"{report.assumed:,} by the assumption at the end of this page. A lead that is given back goes on, and may be "
        "accepted more than once."
    )
    return f'<p class="soft">A simulation with capacity, hours and answers evolving, {escape(beside)}. {answered}</p>'


# --- numbers at the top


def _tiles(report: Report) -> Iterable[str]:
    here, then = report.here.total, report.then.total if report.then else None
    yield _tile("leads", f"{here.leads:,}", f"{then.leads:,}" if then else None)
    titles = {"offers": "offers", "accepts": "offers accepted", "returned": "given back, to go on"}
    for what, title in (titles | {"missed": "leads nobody took"}).items():
        yield _tile(title, f"{getattr(here, what):,}", f"{getattr(then, what):,}" if then else None)
    mine, theirs = here.to_json(), then.to_json() if then else {}
    yield _tile(
        "median minutes until accepted", _told(mine["wait_min"]), _told(theirs.get("wait_min")) if then else None
    )
    yield _tile("miles to the member, mean", _told(mine["miles"]), _told(theirs.get("miles")) if then else None)
    worst = f"{report.then.worst:.2f}" if report.then else None
    yield _tile("turns, the farthest from what is due", f"{report.here.worst:.2f}", worst)


def _tile(title: str, value: str, before: str | None) -> str:
    was = f"<span>{before} before</span>" if before is not None else ""
    return f'<div class="tile"><span>{escape(title)}</span><b>{value}</b>{was}</div>'


# --- pictures


def _pictures(report: Report) -> str:
    rows = members_beside(report.then, report.here, report.past.members)
    what = "Change of offers by member" if report.then else "Offers by member"
    over_time, lines = days(report.here.days, report.then.days if report.then else None)
    key = [("var(--here)", report.name)] + ([("var(--then)", report.beside)] if report.then else [])
    return (
        f'<h2>At a glance</h2><div class="pair"><figure><figcaption>{what}</figcaption>'
        f"{_drawn(bars(rows, what), what)}</figure>"
        f"<figure><figcaption>{over_time}</figcaption>{_drawn(lines, over_time)}{_key(key)}</figure></div>"
    )


def _map(report: Report) -> str:
    last = {one.roster.market: one.roster for one in report.past.rosters}
    places: list[Point] = [place for roster in last.values() for member in roster for place in member.places]
    drawn = chart_map(report.dots, places[:5_000])
    if report.then:
        key = [
            ("var(--then)", "offered first to the same member"),
            ("var(--here)", "to another"),
            ("var(--miss)", "to nobody"),
        ]
    else:
        key = [("var(--here)", "offered to a member"), ("var(--miss)", "to nobody")]
    caption = "<figcaption>Leads by who was offered them first; triangles are members.</figcaption>"
    return f"<h2>Where</h2><figure>{caption}{_drawn(drawn, 'Map of leads')}{_key(key)}</figure>"


def _drawn(picture: str, what: str) -> str:
    """A picture that narrow screens push aside, by finger or by key."""
    if not picture:
        return '<p class="soft">There is nothing to draw.</p>'
    return f'<div class="drawn" tabindex="0" role="region" aria-label="{escape(what, True)}">{picture}</div>'


def _key(entries: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<li><i style="background:{colour}"></i>{escape(text)}</li>' for colour, text in entries)
    return f'<ul class="key">{items}</ul>'


# --- tables


def _members(report: Report) -> str:
    rows = members_beside(report.then, report.here, report.past.members)
    head = ["member", *(title for _, title in _COLUMNS), "turns beyond due"]
    body = [[_name(row), *(_cell(row, what) for what, _ in _COLUMNS), _due(row)] for row in rows]
    return "<h2>Members</h2>" + _table(f"{len(rows):,} members, the greatest change of offers first.", head, body)


def _area(report: Report, by: str) -> str:
    rows = areas_beside(report.then, report.here, by)
    columns = _COLUMNS if by == "ring" else (("leads", "leads"), *_COLUMNS, ("missed", "nobody took"))
    head = [_AREAS[by], *(title for _, title in columns)]
    body = [[_name(row), *(_cell(row, what) for what, _ in columns)] for row in rows]
    return f"<h2>By {_AREAS[by]}</h2>" + _table(f"{len(rows):,} rows.", head, body)


def _fairness(report: Report) -> str:
    before = report.then.fairness if report.then else {}
    names = sorted(report.here.fairness.keys() | before.keys())
    body = []
    for name in names:
        here, was = report.here.fairness.get(name, Turns("", 0.0, None)), before.get(name)
        body.append(
            [
                f'<th scope="row">{escape(name)}</th>',
                f'<td class="word">{escape(here.mode)}</td>',
                _number(here.worst, was.worst if was else None),
                _number(here.bound, was.bound if was else None),
            ]
        )
    return "<h2>Fairness</h2>" + _table(
        "How far anyone was ever from what was due to it, in turns, by rotation; the bound is what mode fair keeps to.",
        ["rotation", "mode", "worst", "bound"],
        body,
    )


def _assumption(report: Report) -> str:
    told = report.assumption()
    tiers: Mapping[str, Any] = {**told["tiers"], "all others": told["others"]}
    body = [
        [
            f'<th scope="row">{escape(tier)}</th>',
            f'<td data-n="{one["offers"]}">{one["offers"]:,}</td>',
            *(f'<td data-n="{one[what]}">{one[what]:.1%}</td>' for what in ("accept", "reject", "ignore")),
            *(
                f'<td class="word">{_spread(one[what])}</td>'
                for what in ("accept_after_min", "reject_after_min", "hold_min")
            ),
            f'<td class="word">{escape(", ".join(f"{k} {v:.0%}" for k, v in one["ends"].items()) or "-")}</td>',
        ]
        for tier, one in tiers.items()
    ]
    stated = ", ".join(f"{name} {value:g}" for name, value in told["stated"].items())
    said = f" Stated by hand: {escape(stated)}." if stated else ""
    return (
        "<h2>The assumption</h2><p>An answer that was seen for the same member and lead is used again, after the same "
        "time. Every other offer is answered by dice that depend on the lead and the member alone, with the rates and "
        f"delays of the member's tier in this time. A silence is taken as silence.{said} Seed {told['seed']}.</p>"
        + _table(
            "Delays in minutes: a tenth, half and nine tenths are faster. What is left of the ends is held to the end.",
            ["tier", "answers seen", "accept", "reject", "ignore", "accept after", "reject after", "held for", "ends"],
            body,
        )
    )


def _reproduction(report: Report) -> str:
    found = report.comparison
    if found is None:
        return ""
    causes = "".join(f"<li>{escape(cause)}: {n:,}</li>" for cause, n in summed(found.differences).items())
    body = [
        [
            f'<th scope="row">{d.lead}</th>',
            f"<td>{d.attempt}</td>",
            *(f'<td class="word">{escape(_who(report, one))}</td>' for one in (d.then, d.here)),
            f'<td class="word">{"follows: " if d.follows else ""}{escape(d.cause)}</td>',
        ]
        for d in found.differences[:LISTED]
    ]
    rest = f" The first {LISTED:,} of {len(found.differences):,}." if len(found.differences) > LISTED else ""
    listed = _table(f"Every difference with its cause.{rest}", ["lead", "attempt", "then", "here", "cause"], body)
    return (
        f"<h2>Against history</h2><p><b>{found.same:,} of {found.decided:,} decisions ({found.share:.3%}) came out as "
        f"they did.</b></p><ul>{causes}</ul>{listed if body else ''}"
    )


def _who(report: Report, member: int | None) -> str:
    if member is None:
        return "nobody"
    known = report.past.members.get(member)
    return known.key if known else str(member)


def _name(row: Beside) -> str:
    label = f' <span class="was">{escape(row.label)}</span>' if row.label else ""
    return f'<th scope="row">{escape(row.name)}{label}</th>'


def _cell(row: Beside, what: str) -> str:
    return _number(_of(row.here, what), _of(row.then, what) if row.then is not None else None)


def _of(sum_: Sum, what: str) -> float | None:
    value: float | None = sum_.to_json()[what]
    return value


def _due(row: Beside) -> str:
    return _number(round(row.due_here or 0.0, 2), None if row.due_then is None else round(row.due_then, 2))


def _number(value: float | None, before: float | None) -> str:
    if value is None:
        return '<td data-n="">-</td>'
    change = ""
    if before is not None:
        by = value - before
        kind = "up" if by > 0 else "down"
        change = ' <span class="was">=</span>' if abs(by) < 1e-9 else f' <span class="{kind}">{signed(by)}</span>'
    return f'<td data-n="{value}">{_told(value)}{change}</td>'


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{one:,g}" for one in values) or "-"


def _table(caption: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col"><button type="button">{escape(one)}</button></th>' for one in head)
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in body)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, True)}"><table data-sorts>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _notes(report: Report) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    return f"{notes}<p>Made by Fairturn. This page holds everything it shows and asks nobody for anything.</p>"
