"""A check of working hours: stretches in which nobody of a pool is at work, so that its leads wait."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from routing.admission import OwnHours
from routing.check_people import People
from routing.check_pools import lead_of
from routing.finding import Finding, note, warning
from routing.hours import Span, opening
from routing.limiting import ZONE
from routing.member import Member
from routing.open_hours import week_of, zone_named
from routing.policy import Hours, Policy, Pool

#: One gap a week is a weekend, if it is no longer than this; another one of a day is none.
WEEKEND, DAY, WEEK = timedelta(hours=72), timedelta(hours=24), timedelta(days=7)
#: Different working hours that are looked at.
MOST = 500


def hours(policy: Policy, known: People, now: datetime) -> Iterator[Finding]:
    """What is to be said about the hours at which members are at work."""
    for at, pool in enumerate(policy.pools):
        own, members = pool.admission.hours, known.active(pool.market)
        if own is None or not members:
            continue
        weeks = _weeks(own, members)
        if weeks is not None:
            yield from _gap(pool, at, policy, _gaps(weeks, now.astimezone(UTC)))


def _weeks(own: OwnHours, members: Sequence[Member]) -> list[Hours] | None:
    """The different hours that members have; None: some are always at work, or they are too many to look at."""
    found: dict[tuple[str, str], Hours] = {}
    for member in members:
        zone, said = str(member.attributes.get(ZONE) or ""), member.attributes.get("hours")
        zone = zone if zone_named(zone) else own.zone
        if (zone, str(said)) not in found:
            days = week_of(said) or own.days
            if days is None or len(found) >= MOST:
                return None
            found[zone, str(said)] = Hours(zone, days)
    return list(found.values())


def _gaps(weeks: Sequence[Hours], start: datetime) -> list[Span]:
    """When nobody is at work, for a day at least, within three weeks."""
    end = start + 3 * WEEK
    spans = sorted(span for one in weeks for span in _spans(one, start, end))
    gaps, shut = [], start
    for opens, shuts in [*spans, (end, end)]:
        if opens - shut >= DAY:
            gaps.append((shut, opens))
        shut = max(shut, shuts)
    whole = [gap for gap in gaps if gap[0] > start and gap[1] < end]
    return whole or gaps


def _spans(one: Hours, start: datetime, end: datetime) -> Iterator[Span]:
    at = start
    while at < end:
        opens, shuts = opening(at, one, end)
        if opens >= end:
            return
        yield opens, shuts
        at = shuts


def _gap(pool: Pool, at: int, policy: Policy, gaps: Sequence[Span]) -> Iterator[Finding]:
    """The longest gap where it is longer than a weekend; else one that comes besides the weekend."""
    if not gaps:
        return
    longest = max(gaps, key=lambda gap: gap[1] - gap[0])
    close = [two for two in pairwise(gaps) if two[1][1] - two[0][1] < WEEK - timedelta(hours=2)]
    more = sorted({gap for two in close for gap in two})
    if longest[1] - longest[0] <= WEEKEND and not more:
        return
    tell = warning if longest[1] - longest[0] > WEEKEND else note
    opens, shuts = (longest if tell is warning else min(more, key=lambda gap: gap[1] - gap[0]))[::-1]
    yield tell(
        "gap_in_hours",
        ("pools", at, "working_hours"),
        f"nobody of {pool.market} is at work from {shuts:%a %Y-%m-%d %H:%M} to {opens:%a %Y-%m-%d %H:%M} UTC",
        "Add working time, or members who are at work then; or let such leads overflow into another pool.",
        lead_of(pool, policy) | {"lead.received_at": shuts.isoformat(), "nobody until": opens.isoformat()},
    )
