"""What a change of the policy touches, for managers who are in charge of some markets or pools only (row M12)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from routing.policy import Policy, Pool
from routing.policy_diff import same
from routing.versions import NotYours

#: No country has this code: it stands for every one that no pool names.
_ANY_OTHER = "ZZ"


def refuse_what_is_others(
    before: tuple[Mapping[str, Any], Policy], after: tuple[Mapping[str, Any], Policy], manages: Collection[str]
) -> None:
    """Raise NotYours when the change touches more than these markets and pools; nothing named is everything."""
    touched = next(_touched(before, after, frozenset(manages)), None) if manages else None
    if touched is not None:
        units = ", ".join(sorted(manages))
        raise NotYours(f"You are in charge of {units}; this change touches {touched}. Leave that as it is in force.")


def _touched(
    before: tuple[Mapping[str, Any], Policy], after: tuple[Mapping[str, Any], Policy], manages: frozenset[str]
) -> Iterator[str]:
    """What others are in charge of, and would not be as it was: the first things first."""
    (old, was), (new, will) = before, after
    for section in dict.fromkeys((*old, *new)):
        if section == "rules":
            yield from _rules(old.get("rules", []), new.get("rules", []), _theirs(was, will, manages))
        elif section != "pools" and not same(old.get(section), new.get(section)):
            yield f"{section}, which every unit shares"
    yield from _pools(before, after, manages)
    yield from _countries(was, will, manages)


def _pools(
    before: tuple[Mapping[str, Any], Policy], after: tuple[Mapping[str, Any], Policy], manages: frozenset[str]
) -> Iterator[str]:
    written = [{part["name"]: part for part in document["pools"]} for document, _ in (before, after)]
    made = [{pool.name: pool for pool in policy.pools} for _, policy in (before, after)]
    theirs = _theirs(before[1], after[1], manages)
    for name in dict.fromkeys((*written[0], *written[1])):
        if same(written[0].get(name), written[1].get(name)) and made[0].get(name) == made[1].get(name):
            continue
        if any(pool is not None and not _is_theirs(pool, manages) for pool in (made[0].get(name), made[1].get(name))):
            yield f"the pool {name}"
        for other in _pools_named(written[1].get(name)):
            if other not in theirs:
                yield f"the pool {other}, which {name} sends leads to"


def _countries(was: Policy, will: Policy, manages: frozenset[str]) -> Iterator[str]:
    """Leads of a country that would go to another pool than before, where one of the two is somebody else's."""
    named = {country for policy in (was, will) for pool in policy.pools for country in pool.countries}
    for country in (*sorted(named), _ANY_OTHER):
        pools = [policy.pool_for(country) for policy in (was, will)]
        names = [pool.name if pool else "" for pool in pools]
        if names[0] != names[1] and not all(pool is None or _is_theirs(pool, manages) for pool in pools):
            of = "of every other country" if country == _ANY_OTHER else f"from {country}"
            yield f"leads {of}, which go to {names[0] or 'nobody'} now"


def _rules(before: Sequence[Any], after: Sequence[Any], theirs: frozenset[str]) -> Iterator[str]:
    """Rules are asked one after the other: only what one says of leads that stay in a manager's own pool may change."""
    if [rule.get("name") for rule in before] != [rule.get("name") for rule in after]:
        yield "which rules there are and in which order, which every unit shares"
        return
    for old, new in zip(before, after, strict=True):
        if not same(old, new) and not (_own(old, theirs) and _own(new, theirs) and same(_when(old), _when(new))):
            yield f"the rule {old.get('name')}, which is not for your pools alone"


def _own(rule: Mapping[str, Any], theirs: frozenset[str]) -> bool:
    then = rule.get("then")
    return isinstance(then, Mapping) and then.get("pool") in theirs and not then.get("continue")


def _when(rule: Mapping[str, Any]) -> Any:
    return {key: value for key, value in rule.items() if key not in {"then", "examples"}}


def _theirs(was: Policy, will: Policy, manages: frozenset[str]) -> frozenset[str]:
    """The names of pools that are theirs, before and after."""
    others = {pool.name for policy in (was, will) for pool in policy.pools if not _is_theirs(pool, manages)}
    return frozenset(pool.name for policy in (was, will) for pool in policy.pools) - others


def _is_theirs(pool: Pool, manages: frozenset[str]) -> bool:
    return pool.name in manages or pool.market in manages


def _pools_named(part: Any) -> Iterator[str]:
    """Every pool that a pool's own part names, such as the one it overflows into."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "pool" and isinstance(value, str):
                yield value
            else:
                yield from _pools_named(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _pools_named(value)
