"""Brings one delivery: finds the words, signs or seals what is sent, makes the call, and says what came of it."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256

import orjson

from config.links import Link, Links
from config.vault import Vault
from config.words import Words, lead_facts, words
from gateways.notify import push, webhook
from gateways.notify.caller import Caller, Reply
from gateways.notify.messenger import Messenger
from routing.courier import Brought, Outcome, Parcel
from routing.delivery import Channel
from routing.offer import Notice
from storage.postgres.deliveries import LETTER_PURPOSE
from storage.postgres.devices import PURPOSE as DEVICE
from storage.postgres.endpoints import PURPOSE as WEBHOOK

#: The status codes that mean: nobody is here any more.
GONE_WEBHOOK, GONE_PUSH = frozenset({410}), frozenset({404, 410})
#: These do not change by trying again; for a webhook every failure may be mended by its owner.
REFUSED_PUSH = frozenset({400, 401, 403, 413})
ANSWERABLE = frozenset({Notice.CREATED, Notice.REMINDER})
_AREA = ("country", "region", "postal_code", "city")


class Mailroom:
    """Everything that is needed to bring a delivery."""

    def __init__(
        self,
        *,
        vault: Vault,
        caller: Caller,
        messenger: Messenger,
        sender: Callable[[], push.Sender],
        links: Links,
        face: str,
        shown: Callable[[str], Sequence[str]],
        agent: str,
    ) -> None:
        self._vault = vault
        self._caller = caller
        self._messenger = messenger
        self._sender = sender
        self._links = links
        self._face = face
        self._shown = shown  # what of a pool's leads may be seen before acceptance
        self._agent = agent

    async def bring(self, parcel: Parcel) -> Brought:
        """One try."""
        match parcel.channel:
            case Channel.WEBHOOK:
                return await self._webhook(parcel)
            case Channel.PUSH:
                return await self._push(parcel)
            case _:
                return await self._message(parcel)

    async def _webhook(self, parcel: Parcel) -> Brought:
        secrets = [self._vault.open(WEBHOOK, one, about=str(parcel.target)).decode() for one in parcel.sealed]
        body = webhook.payload(parcel.what, parcel.at, self._data(parcel))
        head = webhook.headers(secrets, message_id(parcel), parcel.now, body)
        reply = await self._caller.post(parcel.url or "", {**head, "User-Agent": self._agent}, body)
        return _judged(reply, gone=GONE_WEBHOOK)

    def _data(self, parcel: Parcel) -> Mapping[str, object]:
        """Ids, the offer as it stands now, and the area: never contact data."""
        about, seen = parcel.about, self._shown(parcel.about.pool) if parcel.about else ()
        if about is None:
            return {"offer_id": parcel.offer_id, "number": parcel.number}
        return {
            "offer_id": parcel.offer_id,
            "number": parcel.number,
            "state": str(about.state),
            "version": about.version,
            "expires_at": about.expires_at,
            "area": {name: value for name in _AREA if name in seen and (value := getattr(about, name))},
        }

    async def _push(self, parcel: Parcel) -> Brought:
        told = orjson.loads(self._vault.open(DEVICE, parcel.sealed[0], about=str(parcel.target)))
        there = push.Subscription(told["endpoint"], *(push.raw(told["keys"][name]) for name in ("p256dh", "auth")))
        title, text = self._texts(parcel)
        body = push.sealed(
            orjson.dumps({"what": parcel.what, "offer_id": parcel.offer_id, "title": title, "body": text}), there
        )
        topic = sha256(str(parcel.offer_id).encode()).hexdigest()[:32]
        lives_s = (parcel.until - parcel.now).total_seconds()
        head = self._sender().headers(there, parcel.now, lives_s=lives_s, urgent=parcel.what in ANSWERABLE, topic=topic)
        reply = await self._caller.post(there.endpoint, {**head, "User-Agent": self._agent}, body)
        return _judged(reply, gone=GONE_PUSH, refused=REFUSED_PUSH)

    async def _message(self, parcel: Parcel) -> Brought:
        person = parcel.person
        if person is None:
            return Brought(Outcome.SKIPPED, "the person is not known any more")
        channel = str(parcel.channel)
        to = person.phone if parcel.channel is Channel.SMS else person.email
        if not to or channel not in self._messenger.channels:
            return Brought(Outcome.FAILED, "the person has no such address, or no way there is set")
        title, text = self._texts(parcel)
        if parcel.channel is Channel.SMS:
            title, text = "", f"{title}. {text}"
        reply = await asyncio.to_thread(self._messenger.send, channel, to, title, text)
        return _judged(reply)

    def _texts(self, parcel: Parcel) -> tuple[str, str]:
        """Title and text, in the person's language."""
        said = words(parcel.person.language if parcel.person else "")
        if parcel.number is None:
            return self._letter(parcel, said)
        key = parcel.what.partition(".")[2]
        facts = self._facts(parcel, said)
        title, text = (said.say(f"{key}.{part}", **facts) for part in ("title", "text"))
        return title, text if parcel.channel is Channel.PUSH else f"{text}\n{self._way(parcel, said)}"

    def _letter(self, parcel: Parcel, said: Words) -> tuple[str, str]:
        opened = self._vault.open(LETTER_PURPOSE, parcel.sealed[0], about=f"{parcel.target}:{parcel.what}")
        facts = {"minutes": _minutes(parcel.now, parcel.until), **orjson.loads(opened)}
        return said.say(f"{parcel.what}.title", **facts), said.say(f"{parcel.what}.text", **facts)

    def _facts(self, parcel: Parcel, said: Words) -> dict[str, object]:
        about, person = parcel.about, parcel.person
        return {
            **lead_facts(about, self._shown(about.pool) if about else (), said, person.units if person else "mi"),
            "deadline": said.moment(parcel.until, person.zone if person else ""),
            "minutes": _minutes(parcel.now, parcel.until),
        }

    def _way(self, parcel: Parcel, said: Words) -> str:
        """How to answer: at once where there is still something to answer, else in the app."""
        if parcel.what in ANSWERABLE and parcel.offer_id and parcel.person:
            link = Link(parcel.offer_id, parcel.person.id, "answer", parcel.until)
            return said.say("answer", link=self._links.url(link))
        return said.say("open", link=f"{self._face}/app/")


def message_id(parcel: Parcel) -> str:
    """The same for every try, and for all endpoints of a member that are told of this."""
    return f"msg_{(parcel.offer_id.hex if parcel.offer_id else '')}_{parcel.number}"


def _judged(reply: Reply, *, gone: frozenset[int] = frozenset(), refused: frozenset[int] = frozenset()) -> Brought:
    if reply.ok:
        return Brought(Outcome.SENT)
    why = f"it answered {reply.status}" if reply.status else reply.why
    if reply.status in gone:
        return Brought(Outcome.GONE, why)
    return Brought(Outcome.FAILED if reply.status in refused else Outcome.RETRY, why)


def _minutes(now: datetime, until: datetime) -> int:
    return max(1, math.ceil((until - now).total_seconds() / 60))
