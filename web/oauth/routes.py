"""Everything about tokens that can be asked over HTTP."""

from collections.abc import Callable

from fastapi import FastAPI

from config.signing import Signer
from config.tokens import Tokens
from web.oauth import device, form, login, token


def install(
    app: FastAPI,
    tokens: Callable[[], Tokens | None],
    signer: Callable[[], Signer | None],
    *,
    face: str,
    api: str,
) -> None:
    """Add `/oauth`, `/.well-known` and `/login` under `api`; `face` is where others find this app."""
    form.install(app)
    app.include_router(token.routes(tokens, signer, face=face))
    app.include_router(device.routes(tokens, style=f"{api}/docs.css"))
    app.include_router(login.routes(tokens), prefix=api)
