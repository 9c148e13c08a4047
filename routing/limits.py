"""How many units of leads somebody may get in a window of time, whose window that is, and how much of it is used.

A calendar window (hour, day, week, month) is the member's own: it begins anew at its local midnight, on days of 23 and
25 hours as on others. A rolling window moves in steps of 1/24 of its length, and the oldest step counts whole until it
is over: so never more than the limit falls into any window of that length, and sometimes a little less.
"""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

#: More than anybody has: of checks that only count.
PLENTY = 2**31 - 1
#: The steps of a rolling window.
STEPS = 24
#: Begins the counters that get back what was not kept: the turnstile and the ledger alike tell them by it.
KEPT = "kept/"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: Counter -> bucket -> units used.
Uses = Mapping[str, Mapping[int, int]]
Books = MutableMapping[str, dict[int, int]]


class Per(StrEnum):
    """A calendar window."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"


class Of(StrEnum):
    """Whom a limit is for."""

    MEMBER = "member"
    NETWORK = "network"  # all members with the same attribute `network` together; who has none is not limited by it
    POOL = "pool"  # the pool in total


Window = Per | timedelta


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many units in a window; of a share, at most so many percent of what the pool gives in the window."""

    name: str
    of: Of
    per: Window
    most: int = PLENTY
    kept: bool = False  # what was rejected, expired or withdrawn does not count
    zone: str = ""  # of pools, networks and members without a time zone; empty: UTC
    pace: tuple[tuple[Per, int], ...] = ()  # and of that no more than so many percent in a shorter window (row C10)
    percent: int = 0  # of a share (row F13)
    floor: int = 0  # units that the whole of a share is taken for at least

    @property
    def words(self) -> str:
        """The window, as people write it."""
        return str(self.per) if isinstance(self.per, Per) else span(self.per)


def span(length: timedelta) -> str:
    """A length of time as the policy writes it, such as 30d or 1d12h."""
    rest, text = int(length.total_seconds()), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text


@dataclass(frozen=True, slots=True)
class Check:
    """A limit of a candidate at one moment: what its counter holds in its window, the lead included, stays within."""

    limit: str
    counter: str
    bucket: int  # that the offer counts in
    buckets: int  # of the window, back from that one
    until: int  # seconds since 1970 when the window moves on
    lasts: int  # seconds that a bucket may matter
    most: int = PLENTY
    percent: int = 0  # of a share: of what the counter `whole` holds
    floor: int = 0
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Which limit stopped a candidate, with its numbers at that moment."""

    limit: str
    used: int
    most: int
    until: int  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Use:
    """What an offer counts in, with the numbers at the moment of choice: before it, and at most."""

    limit: str
    counter: str
    bucket: int
    buckets: int
    lasts: int
    used: int
    most: int
    percent: int = 0  # of a share: then `most` was that part of the whole

    @property
    def kept(self) -> bool:
        """Whether it is given back when the offer is rejected, expires or is withdrawn."""
        return self.counter.startswith(KEPT)


# --- counting


def used(uses: Uses, counter: str, bucket: int, buckets: int) -> int:
    """What was used in the window that ends with this bucket."""
    held = uses.get(counter)
    if not held:
        return 0
    if buckets == 1:
        return held.get(bucket, 0)
    return sum(count for at, count in held.items() if bucket - buckets < at <= bucket)


def most(check: Check, units: int, uses: Uses) -> int:
    """What may be used at most, the lead included."""
    if not check.percent:
        return check.most
    whole = used(uses, check.whole, check.bucket, check.buckets) + units
    return check.percent * max(whole, check.floor) // 100


def stopped(checks: Sequence[Check], units: int, uses: Uses) -> Stop | None:
    """The first limit that a lead of so many units would pass."""
    for check in checks:
        held, at_most = used(uses, check.counter, check.bucket, check.buckets), most(check, units, uses)
        if held + units > at_most:
            return Stop(check.limit, held, at_most, check.until)
    return None


def use(checks: Sequence[Check], units: int, uses: Uses) -> tuple[Use, ...]:
    """What an offer under these checks counts in, before it is counted."""
    return tuple(
        Use(
            check.limit,
            check.counter,
            check.bucket,
            check.buckets,
            check.lasts,
            used(uses, check.counter, check.bucket, check.buckets),
            most(check, units, uses),
            check.percent,
        )
        for check in checks
    )


def count(made: Iterable[Use], units: int, books: Books) -> None:
    """Count an offer; buckets before the last one that its windows left behind are forgotten.

    Not that last one: another batch may have looked at its clock a moment earlier.
    """
    for one in made:
        held = books.setdefault(one.counter, {})
        held[one.bucket] = held.get(one.bucket, 0) + units
        for old in [at for at in held if at < one.bucket - one.buckets]:
            del held[old]


def give_back(made: Iterable[Use], units: int, books: Books) -> None:
    """Take an offer out again, where it is still counted."""
    for one in made:
        held = books.get(one.counter, {})
        if one.bucket in held:
            held[one.bucket] -= units
            if held[one.bucket] <= 0:
                del held[one.bucket]
        if not held:
            books.pop(one.counter, None)


# --- windows


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in its window a moment is."""

    bucket: int
    buckets: int
    until: int
    lasts: int


@lru_cache(maxsize=1000)  # members of a batch share its moment, and most of them a time zone
def moment(per: Window, now: datetime, zone: str) -> Moment:
    """The bucket of this moment, by the calendar of that zone where it is a calendar window."""
    if isinstance(per, timedelta):
        width = per // STEPS
        at = (now - _EPOCH) // width
        return Moment(at, STEPS + 1, _seconds(_EPOCH + (at + 1) * width), int(per.total_seconds() * 26 / STEPS) + 1)
    return _calendar(per, now.astimezone(_zone(zone)))


def _calendar(per: Per, local: datetime) -> Moment:
    if per is Per.HOUR:
        return _hour(local)
    today, zone = local.date(), local.tzinfo
    if per is Per.DAY:
        return Moment(today.toordinal(), 1, _midnight(today + timedelta(days=1), zone), 2 * 86_400)
    if per is Per.WEEK:
        monday = today - timedelta(days=today.weekday())
        return Moment(monday.toordinal() // 7, 1, _midnight(monday + timedelta(days=7), zone), 8 * 86_400)
    first = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return Moment(today.year * 12 + today.month, 1, _midnight(first, zone), 33 * 86_400)


def _hour(local: datetime) -> Moment:
    """The hour that began when the local clock last showed a full one: told by that moment, as some come twice."""
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    began = local.astimezone(UTC) - past
    return Moment(_seconds(began) // 3600, 1, _seconds(began) + 3600, 2 * 3600)


def _midnight(day: date, zone: object) -> int:
    return _seconds(datetime.combine(day, time(), tzinfo=zone))  # type: ignore[arg-type] # of an aware datetime


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND // 1_000_000


@lru_cache(maxsize=1000)
def _zone(name: str) -> ZoneInfo:
    """The zone of this name; what a member's attribute says need not be one."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


# --- whose limits


@dataclass(frozen=True, slots=True)
class Bound:
    """A member as limits see it."""

    id: int
    zone: str = ""
    network: str = ""
    tier: tuple[Limit, ...] = ()
    own: Mapping[str, int] = field(default_factory=dict)  # its own numbers, by the name of the limit


def own_limits(value: object) -> dict[str, int]:
    """What a member's attribute `limits` says: names and numbers, as a mapping or as text like `day=3; month=20`."""
    if isinstance(value, str):
        pairs = (part.split("=", 1) for part in value.replace(",", ";").split(";") if "=" in part)
        value = {name.strip(): number.strip() for name, number in pairs}
    if not isinstance(value, Mapping):
        return {}
    return {str(name): int(number) for name, number in value.items() if _is_count(number)}


def _is_count(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and int(value) <= PLENTY
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PLENTY


def checks_of(
    member: Bound, everywhere: Sequence[Limit], pool: str, here: Sequence[Limit], now: datetime
) -> tuple[Check, ...]:
    """Every limit of a member for a lead of this pool: its own overall, its network's, its tier's, and the pool's."""
    found: dict[str, Check] = {}
    own_tier = {limit.name for limit in member.tier}
    overall = [limit for limit in everywhere if not (limit.of is Of.MEMBER and limit.name in own_tier)]
    for where, limits in (("", [*member.tier, *overall]), (pool, here)):
        for limit in limits:
            for check in _checks(member, where, limit, now):
                found.setdefault(check.counter, check)
    return tuple(found.values())


def _checks(member: Bound, where: str, limit: Limit, now: datetime) -> Iterable[Check]:
    key = {Of.MEMBER: f"m{member.id}", Of.NETWORK: f"n{member.network}", Of.POOL: "all"}[limit.of]
    if limit.of is Of.NETWORK and not member.network:
        return
    zone = (member.zone if limit.of is Of.MEMBER else "") or limit.zone
    stem = f"{KEPT if limit.kept else ''}{where}/{limit.name}"
    at = moment(limit.per, now, zone)
    if limit.percent:
        whole = f"{stem}/{limit.words}/whole"
        yield _check(
            limit.name, f"{stem}/{limit.words}/{key}", at, percent=limit.percent, floor=limit.floor, whole=whole
        )
        yield _check("", whole, at)
        return
    at_most = member.own.get(limit.name, limit.most) if limit.of is Of.MEMBER else limit.most
    yield _check(limit.name, f"{stem}/{limit.words}/{key}", at, most=at_most)
    for per, percent in limit.pace:
        paced = at_most * percent // 100
        yield _check(f"{limit.name}/{per}", f"{stem}/{per}/{key}", moment(per, now, zone), most=paced)


def _check(
    limit: str, counter: str, at: Moment, *, most: int = PLENTY, percent: int = 0, floor: int = 0, whole: str = ""
) -> Check:
    return Check(limit, counter, at.bucket, at.buckets, at.until, at.lasts, most, percent, floor, whole)


# --- in the ledger


def written_uses(made: Sequence[Use]) -> list[list[object]]:
    """As the ledger keeps them."""
    return [[u.limit, u.counter, u.bucket, u.buckets, u.lasts, u.used, u.most, u.percent] for u in made]


def written_stops(stops: Mapping[int, Stop]) -> dict[str, list[object]]:
    """As the ledger keeps them, by member."""
    return {str(member): [s.limit, s.used, s.most, s.until] for member, s in stops.items()}


def read_uses(rows: Iterable[Sequence[object]]) -> tuple[Use, ...]:
    """What an offer counted in, as it was written down."""
    return tuple(Use(*row) for row in rows)  # type: ignore[arg-type] # as written_uses wrote them


def read_stops(rows: Mapping[str, Sequence[object]]) -> dict[int, Stop]:
    """Which limits stopped whom, as it was written down."""
    return {int(member): Stop(*row) for member, row in rows.items()}  # type: ignore[arg-type] # likewise
