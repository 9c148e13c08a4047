"""Who may come in."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from config import settings
from config.gatekeeper import Gatekeeper
from config.signing import Signer
from config.tokens import Tokens
from config.vault import Vault
from gateways.oidc import OutsideIssuer
from routing.access import Outsider
from routing.errors import BadInput
from storage.postgres.api_keys import ApiKeys
from storage.postgres.clients import Clients
from storage.postgres.device_logins import DeviceLogins
from storage.postgres.logins import Logins
from storage.postgres.people import People
from storage.postgres.sessions import Sessions
from storage.postgres.signing_keys import SigningKeys

if TYPE_CHECKING:
    pass
from config import wiring


@cache
def people() -> People:
    return People(wiring.engine())


@cache
def clients() -> Clients:
    return Clients(wiring.engine())


@cache
def api_keys() -> ApiKeys:
    return ApiKeys(wiring.engine())


@cache
def vault() -> Vault:
    """Seals what must be secret. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Vault(settings.load().secret.get_secret_value())


@cache
def signer() -> Signer:
    """Issues and verifies access tokens. Raises BadInput when FAIRTURN_SECRET is not set."""
    face = settings.load().face()
    return Signer(SigningKeys(wiring.engine()), vault(), issuer=face, audience=f"{face}/api/v1")


def signer_or_none() -> Signer | None:
    """The same; None where no secret is set: then nobody has a token of ours."""
    return signer() if settings.load().secret.get_secret_value() else None


@cache
def tokens_for() -> Tokens | None:
    """Gives tokens to people and programs; None where FAIRTURN_SECRET is not set."""
    if signer_or_none() is None:
        return None
    return Tokens(
        signer=signer(),
        vault=vault(),
        people=people(),
        clients=clients(),
        sessions=Sessions(wiring.engine()),
        logins=Logins(wiring.engine()),
        devices=DeviceLogins(wiring.engine()),
        postman=wiring.postman,
    )


def outside_issuer() -> Callable[[str], Outsider | None] | None:
    """Whose tokens are taken besides our own; None where no outside issuer is set."""
    cfg = settings.load()
    if not cfg.oidc_issuer:
        return None
    if not cfg.oidc_audience:
        raise BadInput("it is not set", field="FAIRTURN_OIDC_AUDIENCE", fix="Name what its tokens are for.")
    return OutsideIssuer(cfg.oidc_issuer, cfg.oidc_audience).verify


@cache
def gatekeeper() -> Gatekeeper:
    """Knows who calls; without FAIRTURN_SECRET by API key and outside token only."""
    return Gatekeeper(
        people=people(),
        clients=clients(),
        keys=api_keys(),
        members=wiring.members(),
        signer=signer_or_none(),
        outside=outside_issuer(),
    )
