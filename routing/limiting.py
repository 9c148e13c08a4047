"""Which limits hold for the candidates of plans: by the policy, what the members are, and the batch's clock."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from routing.limits import Bound, Check, checks_of, own_limits
from routing.member import Member, Roster
from routing.plan import Plan
from routing.policy import Policy

#: What members may say of limits, by the names of attributes.
ZONE, NETWORK, OWN = "timezone", "network", "limits"


def limited(plans: Sequence[Plan], policy: Policy, roster: Roster, now: datetime) -> list[Plan]:
    """The plans with the limits of everybody they ask; those as they were where nobody has any."""
    limiter = Limiter(policy, roster, now)
    return [replace(plan, limits=limiter.limits(plan)) for plan in plans]


class Limiter:
    """The limits of one moment; a member's for one pool are worked out once."""

    def __init__(self, policy: Policy, roster: Roster, now: datetime) -> None:
        self._policy, self._roster, self._now = policy, roster, now
        self._known: dict[tuple[str, int], tuple[Check, ...]] = {}
        self._here = {pool.name: pool.limits for pool in policy.pools}

    def limits(self, plan: Plan) -> dict[int, tuple[Check, ...]]:
        """Of every candidate that has any."""
        members = {c.member for group in plan.groups for c in group.candidates}
        found = {member: self.checks(plan.pool.name, member) for member in sorted(members)}
        return {member: checks for member, checks in found.items() if checks}

    def checks(self, pool: str, member: int) -> tuple[Check, ...]:
        """Every limit of this member for a lead of this pool."""
        known = self._known.get((pool, member))
        if known is None:
            found = self._roster.get(member)
            known = () if found is None else self._checks(pool, found)
            self._known[pool, member] = known
        return known

    def _checks(self, pool: str, member: Member) -> tuple[Check, ...]:
        bound = bound_of(self._policy, member.id, member.tier, member.attributes)
        return checks_of(bound, self._policy.limits, pool, self._here.get(pool, ()), self._now)


def bound_of(policy: Policy, member: int, tier: str, said: Mapping[str, object]) -> Bound:
    """A member as limits see it, by its tier and its attributes."""
    zone, network = str(said.get(ZONE) or ""), str(said.get(NETWORK) or "")
    return Bound(member, zone, network, policy.tier(tier).limits, own_limits(said.get(OWN)))
