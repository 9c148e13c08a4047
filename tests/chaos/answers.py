"""What must hold of answers: what members were told, beside what the ledger says."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.chaos.checkers import Check, Evidence, Finding
from tests.chaos.ledger import Row

#: What an offer may be when its member was told that this answer had been taken.
KEPT: Mapping[str, frozenset[str]] = {
    "accept": frozenset({"accepted", "completed", "lost", "returned", "withdrawn"}),
    "reject": frozenset({"rejected"}),
    "complete": frozenset({"completed"}),
    "lose": frozenset({"lost"}),
    "return": frozenset({"returned"}),
    "extend": frozenset({"accepted", "completed", "lost", "returned", "withdrawn"}),
}
#: Only a member's own word makes these.
ITS_WORD = {"rejected": "reject", "completed": "complete", "lost": "lose", "returned": "return"}
#: How answers may be refused; any other problem is one of ours.
REFUSALS = frozenset(
    {
        *("offer-expired", "already-answered", "offer-withdrawn", "offer-taken", "wrong-state", "offer-changed"),
        *("return-window-closed", "extension-refused"),
    }
)
#: The history is written after a connection was read, and to the microsecond.
SLACK = timedelta(milliseconds=2)


def counts(seen: Evidence) -> dict[str, int]:
    """How many answers came to what."""
    told = Counter(_outcome(line) for line in seen.history.lines("member") if line["what"] != "answer")
    return dict(told.most_common())


def _outcome(line: Mapping[str, Any]) -> str:
    if line["what"] == "unknown":
        return "unknown at first"
    return str(line["verb"]) if line["status"] < 300 else str(line["problem"])


def every_answer_stands(seen: Evidence) -> Iterator[Finding]:
    """What a member was told is what the ledger says, or became later what it may become; at the right time."""
    offers = {offer["id"]: offer for offer in seen.offers}
    sent = _first_sent(seen)
    for line in seen.history.lines("member", "answered"):
        if line["status"] < 300:
            offer = offers.get(line["offer"])
            if offer is None:
                yield Finding("answer_lost", f"{line['verb']} of {line['offer']}, which is not there")
            else:
                yield from _stands(seen, line, offer, sent[line["offer"], line["verb"]])


def _stands(seen: Evidence, line: Mapping[str, Any], offer: Row, sent: datetime) -> Iterator[Finding]:
    lead, verb, said = offer["lead_id"], line["verb"], f"{line['verb']} by {line['member']} as {line['key']}"
    if seen.members[offer["member_id"]]["key"] != line["member"]:
        yield Finding("answer_of_another", f"{said} was taken for an offer of another member", lead)
        return
    if offer["state"] not in KEPT[verb] or (verb in {"accept", "extend"} and offer["accepted_at"] is None):
        yield Finding("answer_lost", f"{said} was taken, and the offer is {offer['state']}", lead)
        return
    if verb in ITS_WORD.values() and line["reason"] not in {None, offer["reason"]}:
        yield Finding("answer_changed", f"{said} said {line['reason']}, the ledger {offer['reason']}", lead)
    at = {"accept": offer["accepted_at"], "extend": None}.get(verb, offer["ended_at"])
    if at is not None and not sent - SLACK <= at <= _time(line["t"]) + SLACK:
        yield Finding("answer_at_another_time", f"{said}, sent at {sent}, is kept as of {at}", lead)
    if verb in {"accept", "reject"} and at is not None and at >= offer["expires_at"]:
        yield Finding("answered_late", f"{said} at {at}, after its deadline {offer['expires_at']}", lead)


def nobody_answers_for_a_member(seen: Evidence) -> Iterator[Finding]:
    """The ledger has no answer that nobody gave, and as many extensions as were asked for."""
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    taken: dict[tuple[str, str], set[str]] = defaultdict(set)
    unsure = {line["key"] for line in seen.history.lines("member", "unknown")}  # may have been taken all the same
    refused = {line["key"] for line in seen.history.lines("member", "answered") if line["status"] >= 300} - unsure
    for line in seen.history.lines("member"):
        if line["key"] not in refused:
            asked[line["offer"], line["verb"]].add(line["key"])
        if line["what"] == "answered" and line["status"] < 300:
            taken[line["offer"], line["verb"]].add(line["key"])
    for offer in seen.offers:
        verbs = ["accept"] if offer["accepted_at"] else []
        verbs += [ITS_WORD[offer["state"]]] if offer["state"] in ITS_WORD else []
        for verb in verbs:
            if not asked[offer["id"], verb]:
                yield Finding("answer_made_up", f"{verb} of {offer['id']}, which nobody said", offer["lead_id"])
        least, most = len(taken[offer["id"], "extend"]), len(asked[offer["id"], "extend"])
        if not least <= offer["extensions"] <= most:
            text = f"{offer['extensions']} extensions of {offer['id']}, asked for were {least} to {most}"
            yield Finding("extensions", text, offer["lead_id"])


def nobody_is_accepted_twice(seen: Evidence) -> Iterator[Finding]:
    """No two members have accepted the same lead at the same time, and no offer was accepted after its deadline."""
    accepted: dict[int, list[Row]] = defaultdict(list)
    for offer in seen.offers:
        if offer["accepted_at"] is not None:
            accepted[offer["lead_id"]].append(offer)
            if offer["accepted_at"] >= offer["expires_at"]:
                yield Finding("accepted_late", f"{offer['id']} at {offer['accepted_at']}", offer["lead_id"])
    for lead, offers in accepted.items():
        offers.sort(key=lambda offer: offer["accepted_at"])
        for one, other in pairwise(offers):
            if one["ended_at"] is None or one["ended_at"] > other["accepted_at"]:
                yield Finding("accepted_twice", f"{one['id']} and {other['id']}", lead)


def leads_agree_with_their_offers(seen: Evidence) -> Iterator[Finding]:
    """An accepted lead has an accepted offer, a done one was completed or lost, an offered one is offered."""
    states: dict[int, list[str]] = defaultdict(list)
    for offer in seen.offers:
        states[offer["lead_id"]].append(offer["state"])
    for lead in seen.leads:
        have = set(states[lead["id"]])
        now = have & {"offered", "accepted"} or have & {"completed", "lost"}
        wanted = {"offered": {"offered"}, "accepted": {"accepted"}}.get(lead["state"], set())
        sound = len(now) == 1 and now <= {"completed", "lost"} if lead["state"] == "done" else now == wanted
        if not sound and lead["state"] != "withdrawn":
            yield Finding("lead_differs", f"it is {lead['state']}, its offers are {sorted(have)}", lead["id"])
        if lead["state"] == "withdrawn" and now & {"offered", "accepted"}:
            yield Finding("lead_differs", f"it is withdrawn, its offers are {sorted(have)}", lead["id"])


def refusals_are_true(seen: Evidence) -> Iterator[Finding]:
    """Members are refused by name, never by an error of ours, never before the deadline; others see nothing."""
    offers = {offer["id"]: offer for offer in seen.offers}
    for line in seen.history.lines("member", "answered"):
        offer = offers.get(line["offer"])
        lead = offer["lead_id"] if offer else None
        said = f"{line['verb']} of {line['offer']} got {line['status']} {line['problem']}"
        if line["odd"] == "rival":
            if line["status"] != 404:
                yield Finding("seen_by_another", said, lead)
        elif line["status"] >= 300 and line["problem"] not in REFUSALS:
            yield Finding("refused_strangely", said, lead)
        elif line["problem"] == "offer-expired" and offer and _time(line["t"]) + SLACK < offer["expires_at"]:
            yield Finding("expired_early", f"{said} at {_time(line['t'])}, before {offer['expires_at']}", lead)


def one_key_has_one_answer(seen: Evidence) -> Iterator[Finding]:
    """Whoever repeats a request is told the same again; in the end everybody is told something."""
    told: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for line in seen.history.lines("member"):
        told[line["key"]] |= {(line["status"], line["problem"])} if line["what"] == "answered" else set()
    for key, outcomes in told.items():
        if len(outcomes) != 1:
            yield Finding("one_key", f"{key} was told {sorted(outcomes) or 'nothing'}")


def notices_are_whole(seen: Evidence) -> Iterator[Finding]:
    """Each member's notices are 1, 2, 3 ... without a gap, and tell once of each offer, acceptance and end."""
    for row in seen.ledger.numbering():
        if (row["count"], row["min"] or 1, row["max"] or 0) != (row["notices"], 1, row["notices"]):
            yield Finding("notice_missing", f"member {row['key']} has {row['count']} of {row['notices']}")
    told = {(row["offer"], row["what"], row["member_id"]): row["n"] for row in seen.ledger.told()}
    for offer in seen.offers:
        wanted = {"created": 1, "accepted": int(offer["accepted_at"] is not None)}
        wanted |= {offer["state"]: 1} if offer["state"] != "offered" else {}
        have = {name: told.get((offer["id"], f"offer.{name}", offer["member_id"]), 0) for name in wanted}
        if have != wanted:
            yield Finding("notices", f"{offer['id']} was told {have}, should be {wanted}", offer["lead_id"])


def _first_sent(seen: Evidence) -> dict[tuple[str, str], datetime]:
    """When an answer to an offer was first sent, whoever it was."""
    first: dict[tuple[str, str], datetime] = {}
    for line in seen.history.lines("member", "answer"):
        first.setdefault((line["offer"], line["verb"]), _time(line["t"]))
    return first


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


CHECKS: Sequence[Check] = (
    every_answer_stands,
    nobody_answers_for_a_member,
    nobody_is_accepted_twice,
    leads_agree_with_their_offers,
    refusals_are_true,
    one_key_has_one_answer,
    notices_are_whole,
)
