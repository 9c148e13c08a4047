"""Working time: how much of it lies between two moments, and when a length of it is over.

A moment is working time when the clock on the wall of the zone shows a time of the day's spans and the day is no
holiday. So an hour that a clock change repeats counts twice, and one that it leaves out counts nothing.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from routing.policy import Hours

_DAY, _HOUR, _SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
_NOTHING = timedelta(0)
#: A span of moments, half open.
Span = tuple[datetime, datetime]


def deadline(start: datetime, length: timedelta, hours: Hours | None) -> datetime:
    """The first moment at which `length` has passed since `start`: working time, or all time without `hours`.

    Raises OverflowError when there is no such moment before the calendar ends.
    """
    start = start.astimezone(UTC)
    if hours is None or length <= _NOTHING:
        return start + length
    left = length
    for begin, end in _working(start, hours):
        if left <= end - begin:
            return begin + left
        left -= end - begin
    raise OverflowError(f"{length} of working time never pass")


def elapsed(start: datetime, end: datetime, hours: Hours | None) -> timedelta:
    """How much time, of the kind that counts, lies between the two; nothing when `end` is before `start`."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if end <= start:
        return _NOTHING
    if hours is None:
        return end - start
    total = _NOTHING
    for since, until in _working(start, hours):
        if since >= end:
            break
        total += min(until, end) - since
    return total


def opening(now: datetime, hours: Hours, latest: datetime) -> Span:
    """The span of working time that is going on, or the next one; what begins after `latest` is not looked for."""
    now, found = now.astimezone(UTC), None
    if not any(hours.days.values()):
        return latest, latest
    for begin, end in _working(now, hours):
        if found is not None and begin > found[1]:
            return found
        if begin >= latest:
            break
        found = (begin, end) if found is None else (found[0], max(found[1], end))
        if end >= latest:
            break
    return found or (latest, latest)


def _working(start: datetime, hours: Hours) -> Iterator[Span]:
    """The spans of working time from `start` on, in order; they may touch."""
    day = datetime.combine(start.date(), time(0), UTC)
    try:
        while True:
            for begin, end in _of_day(hours, day):
                if end > start:
                    yield max(begin, start), end
            day += _DAY
    except OverflowError:
        return


def _of_day(hours: Hours, day: datetime) -> Iterator[Span]:
    """The spans of working time within a day of UTC."""
    for begin, end, offset in _offsets(hours.zone, day):
        opens, closes = (begin + offset).replace(tzinfo=None), (end + offset).replace(tzinfo=None)
        for number in range(opens.toordinal(), closes.toordinal() + 1):
            local = date.fromordinal(number)
            midnight = datetime.combine(local, time(0))
            for first, last in () if local in hours.holidays else hours.days.get(local.weekday(), ()):
                since = max(opens, midnight + timedelta(minutes=first))
                until = min(closes, midnight + timedelta(minutes=last))
                if since < until:
                    yield (since - offset).replace(tzinfo=UTC), (until - offset).replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def _offsets(name: str, day: datetime) -> tuple[tuple[datetime, datetime, timedelta], ...]:
    """The stretches of a day of UTC in which the zone's clock is one and the same distance from UTC."""
    zone = ZoneInfo(name)
    found: list[tuple[datetime, datetime, timedelta]] = []
    begin, offset = day, _offset(zone, day)
    for hour in range(24):
        since, until = day + hour * _HOUR, day + (hour + 1) * _HOUR
        if (new := _offset(zone, until)) != offset:
            change = _change(zone, since, until)
            found.append((begin, change, offset))
            begin, offset = change, new
    return (*found, (begin, day + _DAY, offset))


def _change(zone: ZoneInfo, since: datetime, until: datetime) -> datetime:
    """The second within these two at which the zone's clock is changed; clocks are changed on full seconds."""
    before = _offset(zone, since)
    low, high = 0, int((until - since) / _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, since + middle * _SECOND) == before else (low, middle)
    return since + high * _SECOND


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or _NOTHING
