"""What is held of every market between batches: its members by place and by what they are, and the policy."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from routing.batch import Market
from routing.fit import Fit
from routing.ledger import Ledger
from routing.limiting import limited
from routing.member import Roster
from routing.near import Index
from routing.plan import Plan, plan_all
from routing.planning import Asked
from routing.policy import Policy


class Atlas:
    """Holds the roster's index per market, rebuilt when the roster version changes, and one version of the policy."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._indexes: dict[str, Index] = {}
        self._fits: dict[str, tuple[Index, int, Fit]] = {}
        self._policy: Policy | None = None

    def policy(self, version: int) -> Policy:
        """The policy as it was published under this number."""
        if self._policy is None or self._policy.version != version:
            self._policy = self._ledger.policy(version)
        return self._policy

    def index(self, market: str, policy: Policy | None = None, version: int | None = None) -> Index:
        """The market's members by place, of this version at least; with their attributes where the policy asks."""
        held = self._indexes.get(market)
        full = policy is not None and (policy.asks_members or policy.is_limited or policy.has_ramps)
        stale = held is None or (version is not None and held.version != version)
        if held is None or stale or (full and not held.roster.is_full):
            held = Index(self._ledger.roster(market, full=True) if full else self._ledger.roster(market))
            self._indexes[market] = held
        return held

    def rosters(self, policy: Policy, markets: Iterable[str]) -> Mapping[str, Roster]:
        """Everybody of these markets."""
        return {market: self.index(market, policy).roster for market in markets}

    def fit(self, market: str, policy: Policy) -> Fit | None:
        """The market's members by what they are; None where the policy does not ask."""
        if not policy.asks_members:
            return None
        index = self.index(market, policy)
        held = self._fits.get(market)
        if held is None or held[0] is not index or held[1] != policy.version:
            held = self._fits[market] = index, policy.version, Fit(index)
        return held[2]

    def limited(self, market: Market, policy: Policy, plans: Sequence[Plan]) -> list[Plan]:
        """The plans with the limits of their candidates, where the policy has any."""
        if not policy.is_limited or not plans or market.now is None:
            return list(plans)
        return limited(plans, policy, self.index(market.name, policy).roster, market.now)

    def plans(
        self, market: str, policy: Policy, asked: Sequence[Asked], *, now: datetime | None, all_rings: bool
    ) -> list[Plan]:
        """Plans for leads that are asked for in pools of this market."""
        return plan_all(
            [(one.lead, one.pool) for one in asked],
            policy,
            self.index(market, policy),
            all_rings=all_rings,
            now=now,
            rulings={one.lead.id: one.ruling for one in asked if one.ruling is not None},
            fit=self.fit(market, policy),
        )
