"""One tap from a message to an answer: a small page without a login, for who holds a link that we signed.

Opening it changes nothing, as programs that look through mail open every link; the answer is a form that is sent.
"""

from collections.abc import Callable, Sequence
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from config.links import Link, Links, mark
from config.words import Words, lead_facts, preferred, words
from routing.answering import Desk
from routing.errors import BadInput, FairturnError, Refused, TryLater
from routing.offer import (
    Actor,
    AlreadyAnswered,
    OfferExpired,
    OfferState,
    OfferTaken,
    OfferWithdrawn,
    RejectLimitReached,
)
from routing.policy import Answering
from storage.postgres.links_used import Behind, LinksUsed

#: A browser that shows a page to a person says so; programs that look through mail mostly do not.
SHOWN_TO_SOMEBODY = ("sec-fetch-mode", "navigate")
LARGEST_FORM = 2048
_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_WHY: tuple[tuple[type[FairturnError], str], ...] = (
    (OfferExpired, "page.expired"),
    (OfferTaken, "page.taken"),
    (OfferWithdrawn, "page.withdrawn"),
    (AlreadyAnswered, "page.answered"),
    (RejectLimitReached, "page.limit"),
)
_NOW = {
    OfferState.EXPIRED: "page.expired",
    OfferState.WITHDRAWN: "page.withdrawn",
}


class Page:
    """What a link shows and does."""

    def __init__(
        self,
        *,
        links: Callable[[], Links | None],
        used: Callable[[], LinksUsed],
        desk: Callable[[], Desk],
        opened: Callable[[Link, int], object],
        answering: Callable[[str], Answering | None],
        style: str,
        now: Callable[[], float],
    ) -> None:
        self._links = links
        self._used = used
        self._desk = desk
        self._opened = opened
        self._answering = answering
        self._style = style
        self._now = now

    def show(self, token: str, accepted: str, *, somebody: bool) -> Response:
        """The page; nothing is answered by it."""
        link, behind = self._read(token)
        if link is None or behind is None:
            return self._dead(accepted)
        if somebody:
            self._opened(link, behind.member_id)
        return self._page(link, behind)

    def answer(self, token: str, accepted: str, form: dict[str, str]) -> Response:
        """What the form asks for, once."""
        link, behind = self._read(token)
        if link is None or behind is None:
            return self._dead(accepted)
        said = words(behind.language)
        verb = form.get("answer", "")
        if verb not in {"accept", "reject"} or link.action not in {"answer", verb}:
            return self._page(link, behind)
        if verb == "reject" and form.get("reason", "") not in self._reasons(behind):
            return self._page(link, behind, note=said.say("page.reasonless"), status=422)
        try:
            self._give(link, behind, verb, form.get("reason"))
        except TryLater:
            return self._page(link, behind, note=said.say("page.later"), status=503)
        except (Refused, BadInput) as exc:
            return self._end(said, said.say(_why(exc)), status=409)
        self._used().use(mark(token), link.offer)
        return self._end(said, said.say("page.accepted" if verb == "accept" else "page.rejected"))

    def _give(self, link: Link, behind: Behind, verb: str, reason: str | None) -> None:
        if verb == "accept":
            self._desk().accept(link.offer, actor=Actor.LINK, member=behind.member_id, person=link.person)
        else:
            self._desk().reject(link.offer, reason, actor=Actor.LINK, member=behind.member_id, person=link.person)

    def _read(self, token: str) -> tuple[Link | None, Behind | None]:
        links = self._links()
        link = links.read(token) if links else None
        if link is None or link.until.timestamp() <= self._now():
            return None, None
        return link, self._used().behind(mark(token), link.offer, link.person)

    def _reasons(self, behind: Behind) -> Sequence[str]:
        answering = self._answering(behind.about.pool)
        return tuple(answering.reject_reasons) if answering else ()

    def _page(self, link: Link, behind: Behind, *, note: str = "", status: int = 200) -> Response:
        said, about = words(behind.language), behind.about
        if about.state is not OfferState.OFFERED:
            taken = about.state is OfferState.WITHDRAWN and behind.reason == "taken"
            key = "page.taken" if taken else _NOW.get(about.state, "page.answered")
            return self._end(said, said.say(key), status=200)
        answering = self._answering(about.pool)
        facts = lead_facts(about, answering.shown if answering else (), said, behind.units)
        parts = [
            f"<p><strong>{escape(said.say('page.lead', **facts))}</strong></p>",
            f"<p>{escape(said.say('page.until', deadline=said.moment(about.expires_at, behind.zone)))}</p>",
            f'<p role="alert">{escape(note)}</p>' if note else "",
            _accept(said) if link.action in {"answer", "accept"} else "",
            _reject(said, self._reasons(behind)) if link.action in {"answer", "reject"} else "",
        ]
        return self._html(said, said.say("page.title"), "\n".join(filter(None, parts)), status)

    def _end(self, said: Words, text: str, status: int = 200) -> Response:
        body = f'<p role="status">{escape(text)}</p>\n<p><a href="/app/">{escape(said.say("page.app"))}</a></p>'
        return self._html(said, said.say("page.title"), body, status)

    def _dead(self, accepted: str) -> Response:
        """The same for every link that opens nothing, whatever the cause."""
        said = words(preferred(accepted))
        text, app = escape(said.say("page.dead.text")), escape(said.say("page.app"))
        body = f'<p>{text}</p>\n<p><a href="/app/">{app}</a></p>'
        return self._html(said, said.say("page.dead.title"), body, 404)

    def _html(self, said: Words, title: str, body: str, status: int) -> Response:
        page = f"""<!doctype html>
<html lang="{said.language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>{escape(title)}</title><link rel="stylesheet" href="{escape(self._style)}"></head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""
        return HTMLResponse(page, status, headers={"Content-Security-Policy": _POLICY, "Vary": "Accept-Language"})


def routes(page: Page) -> APIRouter:
    """The page at /a/TOKEN."""
    router = APIRouter(include_in_schema=False)

    @router.get("/a/{token}")
    def show(token: str, request: Request) -> Response:
        name, value = SHOWN_TO_SOMEBODY
        somebody = request.headers.get(name) == value
        return page.show(token, request.headers.get("accept-language", ""), somebody=somebody)

    @router.post("/a/{token}")
    async def answer(token: str, request: Request) -> Response:
        form = await _form(request)
        accepted = request.headers.get("accept-language", "")
        return await run_in_threadpool(page.answer, token, accepted, form)

    return router


async def _form(request: Request) -> dict[str, str]:
    """The first value of each field; nothing when it is no form, or larger than any of ours."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST_FORM:
            return {}
    try:
        fields = parse_qs(raw.decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _accept(said: Words) -> str:
    return (
        '<form method="post"><input type="hidden" name="answer" value="accept">'
        f'<button type="submit">{escape(said.say("page.accept"))}</button></form>'
    )


def _reject(said: Words, reasons: Sequence[str]) -> str:
    options = "\n".join(f'<option value="{escape(one)}">{escape(said.reason(one))}</option>' for one in reasons)
    return f"""<form method="post"><input type="hidden" name="answer" value="reject">
<p><label for="reason">{escape(said.say("page.reason"))}</label>
<select id="reason" name="reason" required><option value=""></option>
{options}
</select></p>
<button type="submit">{escape(said.say("page.reject"))}</button></form>"""


def _why(error: FairturnError) -> str:
    return next((key for kind, key in _WHY if isinstance(error, kind)), "page.answered")
