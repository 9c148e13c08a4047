"""Parked things tried again, after a person mended the cause."""

from config import settings, wiring
from routing.change import Unreadable
from routing.errors import BadInput, GiveUp
from storage.postgres.parked import Letter
from tasks.app import announce, nudge


def replay(number: int) -> str:
    """Try a parked thing again; says what becomes of it. Raises BadInput, or GiveUp when it still cannot be used."""
    letter = wiring.parked().get(number)
    if letter is None:
        raise BadInput(f"nothing is parked under {number}", field="number", fix="See `fairturn parked list`.")
    again = {"event": _event, "outbox": _outbox, "lead": _lead}.get(letter.kind)
    if letter.kind in {"message", "task"}:
        raise GiveUp("A message is only a hint: nothing was lost with it, and the relay finds every row it could name.")
    if again is None:
        raise GiveUp(f"A {letter.kind} is tried again by importing its file again, with the row mended.")
    said = again(letter)
    wiring.parked().resolve(number)
    return said


def _event(letter: Letter) -> str:
    if letter.raw is None:
        if not wiring.events().reopen(int(letter.ref)):
            return "The event is not parked any more."
        announce("leads.intake", [int(letter.ref)])
        return "The event is pending again."
    event = Unreadable(
        event_id=letter.ref,
        replay_id=bytes.fromhex(letter.input["replay_id"]),
        schema_id=letter.input["schema_id"],
        payload=letter.raw,
        reason=letter.reason,
    )
    read = wiring.stream(settings.load().salesforce_topic).decode(event)
    if isinstance(read, Unreadable):
        raise GiveUp(f"It still cannot be read: {read.reason}")
    ids = wiring.events().admit(letter.input["topic"], read)
    announce("leads.intake", ids)
    return f"{len(ids)} event(s) were read and are pending."


def _outbox(letter: Letter) -> str:
    count = wiring.outbox().replay([int(letter.ref)])
    nudge("outbox.deliver")
    return "The write-back is pending again." if count else "The write-back is not parked any more."


def _lead(letter: Letter) -> str:
    if not wiring.leads().reopen(int(letter.ref)):
        return "The lead is not in review for an error any more."
    announce("leads.geocode", [int(letter.ref)])
    announce("leads.route", [int(letter.ref)])
    return "The lead is new again."
