"""The check of a policy before it hurts (rows M11 and N10): what an experienced channel manager would ask about.

Pure: the policy, the roster, the countries there are and the moment are given. Each finding names its place and the
fix, and shows a lead where one shows it: every such lead has been given to the real rules.
"""

from collections.abc import Sequence
from datetime import datetime

from routing.check_areas import areas
from routing.check_hours import hours
from routing.check_limits import limits
from routing.check_people import People, people
from routing.check_pools import pools
from routing.check_rules import Stored, examples, rules
from routing.finding import Finding, Severity
from routing.policy import Policy
from routing.witness import Example, Reach, Witnesses

_ORDER = list(Severity)
#: Published only by somebody who says that it is meant: leads that nobody can get, limits that are passed already.
SELDOM_MEANT = frozenset({"empty_pool", "limit_below_held"})
#: Leads that wait for good, or rules that do nothing.
_NOWHERE = frozenset(
    {"empty_pool", "nobody_in_reach", "skills_nobody_has", "unknown_member", "lead_too_heavy", "limit_of_nothing"}
    | {"no_capacity", "hours_never_open", "failing_example", "unreachable_rule", "impossible_rule", "dead_rows"}
)
#: What is wrong only where it is not meant.
_AS_MEANT = frozenset({"contradictory_overlap", "more_contradictory_overlap", "tier_with_nobody", "tier_not_named"})
#: Where leads are in examples that say nothing of it, if the policy has a pool for it.
HOME = "US"


def check(
    policy: Policy,
    known: People | None = None,
    *,
    now: datetime,
    countries: frozenset[str] = frozenset(),
    stored: Sequence[Stored] = (),
) -> list[Finding]:
    """Everything that is to be said about a policy, what keeps it from being published first."""
    found = list(pools(policy, countries, now))
    shown: dict[int, Example] = {}
    if policy.rulebook is not None:
        searched = Witnesses(policy.rulebook, countries, home=_home(policy, countries), now=now)
        found += rules(policy, searched)
        found += examples(list(stored), searched)
        shown = _shown(searched) if known is not None else {}
    if known is not None:
        found += people(policy, known, shown)
        found += areas(policy, known)
        found += hours(policy, known, now)
    found += limits(policy, known, shown, now)
    return sorted(found, key=lambda one: (_ORDER.index(one.severity), _weight(one), one.way[:1] != ("rules",)))


def _weight(one: Finding) -> int:
    """How much hangs on it: leads that go nowhere first, what may well be meant so last."""
    return 0 if one.code in _NOWHERE else 2 if one.code in _AS_MEANT else 1


def _home(policy: Policy, countries: frozenset[str]) -> str:
    """A country that the policy has a pool for."""
    if policy.pool_for(HOME) is not None:
        return HOME
    served = sorted(country for pool in policy.pools for country in pool.countries)
    return served[0] if served else next(iter(sorted(countries)), HOME)


def _shown(searched: Witnesses) -> dict[int, Example]:
    """A lead for each rule that gets one, and one for the default under -1."""
    found = {at: searched.reach(at) for at in range(len(searched.book.rules))} | {-1: searched.default()}
    return {at: one.example for at, one in found.items() if one.reach is Reach.REACHED and one.example is not None}


def publishable(findings: Sequence[Finding]) -> bool:
    """Whether nothing keeps the policy from being published."""
    return not any(one.severity is Severity.ERROR for one in findings)
