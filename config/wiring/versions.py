"""How policies come into force, and who hears when one cannot be read."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from config import policy as policy_file
from config import policy_checking, policy_text, settings
from config.publisher import Publisher
from routing.journey import Verb
from routing.policy import Answering, Policy
from storage.postgres.quotas import Quotas
from storage.postgres.roster_changes import RosterChanges

if TYPE_CHECKING:
    pass
from config import wiring
from config.wiring import Nudge


@cache
def publisher() -> Publisher:
    """What people do with versions of the policy."""
    return Publisher(
        policies=wiring.policies(),
        parse=wiring.parse_policy,
        check=_look_through,
        contents=wiring.contents(),
        people=settings.load().policy_approvals,
        wake=wiring.leads().wake,
    )


@cache
def roster_changes() -> RosterChanges:
    return RosterChanges(wiring.engine())


def _look_through(document: Mapping[str, Any], policy: Policy) -> Sequence[Mapping[str, Any]]:
    """What the check finds, held against the members there are. Raises BadInput for what must not be published."""
    return policy_checking.look_through(document, policy, people_now(), contents=wiring.contents().get)


def people_now() -> policy_checking.People:
    """Everyone there is, with what they hold and have used, as the ledger knows it."""
    return policy_checking.people(wiring.members(), wiring.ledger().open_counts, Quotas(wiring.engine()).uses)


def answering(pool: str) -> Answering | None:
    """How offers of a pool are answered; None for one that the policy does not name any more."""
    return answering_now().get(pool)


def answering_now() -> Mapping[str, Answering]:
    return {p.name: p.answering for p in wiring.ledger().published().pools}


def done_at_once() -> frozenset[Verb]:
    """Every verb but that of asking other people's geocoders: who waits for those holds nobody else up."""
    return frozenset({"route", "locate"} if wiring.geocoder().is_local else {"route"})


def members_too(nudge: Nudge) -> Nudge:
    """Whenever Salesforce must be told of something, members may have to be, too."""

    def both(task: str) -> object:
        if task == "outbox.deliver" and wiring.tells():
            nudge("deliveries.send")
        return nudge(task)

    return both


def publish_policy(document: Mapping[str, Any] | None = None, *, actor: str, note: str = "") -> Policy:
    """Publish a policy document (the file of FAIRTURN_POLICY_FILE, else the default) and wake what waits for it.

    The house itself does so, for its first policy or a demo: nobody's approval is asked.
    """
    file = settings.load().policy_file
    doc = document or (policy_file.load_file(file) if file else policy_file.default_document())
    draft = wiring.parse_policy(doc, 0)
    before = wiring.policies().in_force()
    version = wiring.policies().publish(
        doc,
        list(draft.tiers.values()),
        draft.default_tier,
        [(p.name, p.market, str(p.mode)) for p in draft.pools],
        actor=actor,
        note=note,
        source=doc.source or None if isinstance(doc, policy_text.Written) else None,
    )
    if before is not None and before != version:
        wiring.leads().wake()
    return wiring.parse_policy(doc, version)
