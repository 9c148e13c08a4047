"""The page on which a person lets a device in: plain HTML, two forms, no script."""

from collections.abc import Callable
from html import escape
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, BackgroundTasks, Depends, Query
from starlette.responses import HTMLResponse

from config.tokens import Tokens
from routing.access import LoginRefused
from web.oauth.form import Form, given, seldom
from web.oauth.login import digits, send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
}


def routes(tokens: Callable[[], Tokens | None], *, style: str) -> APIRouter:
    """`/oauth/device`, with the style sheet at `style`."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(seldom())])

    def page(body: str, status: int = 200) -> HTMLResponse:
        return HTMLResponse(_PAGE.format(style=escape(style), body=body), status, headers=HEADERS)

    @router.get("/oauth/device")
    def ask(user_code: Annotated[str, Query(max_length=20)] = "") -> HTMLResponse:
        return page(_first(user_code))

    @router.post("/oauth/device")
    def answered(fields: Form, later: BackgroundTasks) -> HTMLResponse:
        giver, user_code = given(tokens), fields.get("user_code", "")
        asking = giver.device_asking(user_code)
        if asking is None:
            return page(_first("", "No device shows this code now. Look at the device again."), 400)
        if "code" not in fields:
            login, person = uuid4(), giver.wanted(fields.get("email", ""))
            if person is not None:
                later.add_task(send, giver, login, person)
            return page(_second(asking.user_code, asking.client_name, str(login)))
        try:
            person = giver.by_code(_login(fields.get("login", "")), digits(fields["code"]))
        except LoginRefused as exc:
            return page(_first(asking.user_code, str(exc)), 400)
        let_in = fields.get("decision") == "allow"
        if not giver.answer_device(asking.user_code, person, let_in=let_in):
            return page(_first("", "The device waits no longer. Look at it again."), 400)
        return page(f"<p><strong>{'The device is let in.' if let_in else 'The device was sent away.'}</strong></p>")

    return router


def _login(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as exc:
        raise LoginRefused from exc


def _first(user_code: str, said: str = "") -> str:
    return f"""{f'<p role="alert"><strong>{escape(said)}</strong></p>' if said else ""}
<form method="post" action="device">
<p><label for="user_code">The code that the device shows</label><br>
<input id="user_code" name="user_code" value="{escape(user_code)}" required maxlength="20" autocomplete="off"></p>
<p><label for="email">Your e-mail address</label><br>
<input id="email" name="email" type="email" required maxlength="254" autocomplete="email"></p>
<p><button>Send me a code</button></p>
</form>"""


def _second(user_code: str, client: str, login: str) -> str:
    return f"""<p>If your address is known here, a code of eight digits is on its way to it.</p>
<form method="post" action="device">
<input type="hidden" name="user_code" value="{escape(user_code)}">
<input type="hidden" name="login" value="{escape(login)}">
<p><strong>{escape(client)}</strong>, which shows <strong>{escape(user_code[:4])}-{escape(user_code[4:])}</strong>,
wants to see and answer your offers. Only let a device in that you hold in your hands.</p>
<p><label for="code">The code from your mail</label><br>
<input id="code" name="code" required maxlength="20" inputmode="numeric" autocomplete="one-time-code"></p>
<p><button name="decision" value="allow">Let it in</button>
<button name="decision" value="deny">Send it away</button></p>
</form>"""


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Fairturn: let a device in</title>
<link rel="stylesheet" href="{style}"></head>
<body><main><h1>Let a device in</h1>
{body}
</main></body>
</html>
"""
