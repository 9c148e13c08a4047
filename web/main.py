"""The web process: `python -m uvicorn --factory web.main:app --no-server-header`."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from config import desk, logs, metrics, settings, wiring
from config.simulation import trying
from config.version import VERSION
from routing.access import Scope
from tasks.app import announce, nudge
from web import docs, errors, health, identity, links, openapi, panel, phone
from web.api import fairness, invariants, kept, leads, pools, stats, trials
from web.api.partner import routes as partner
from web.api.partner.once import Once
from web.api.policy import routes as policy
from web.api.policy.press import Press
from web.door import Door
from web.limits import Limits, allowance, within
from web.oauth import routes as oauth

API = "/api/v1"
#: Requests are answered in some forty threads, most of which ask the ledger.
CALLERS = 20


def app() -> FastAPI:
    """The whole of what can be asked over HTTP, with the settings of the environment."""
    cfg = settings.load()
    logs.setup(cfg.log_level, cfg.log_format, process="web")  # here, before the server says its first word
    token = cfg.api_token.get_secret_value()
    counts = cfg.data_dir / "metrics"
    wiring.expect(CALLERS)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        metrics.share(counts, "web")
        yield

    web = FastAPI(
        title="Fairturn",
        summary="Leads given in fair turn, with the reasons.",
        version=VERSION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    errors.install(web)
    identity.install(web, wiring.gatekeeper, operator_token=token)
    web.include_router(health.routes(desk.ops, counts=counts))
    web.include_router(docs.routes(web), prefix=API)
    web.include_router(panel.routes(desk.invariants, fair=desk.fair_turns, style=f"{API}/docs.css"))
    web.include_router(phone.routes(), prefix="/app")
    web.include_router(invariants.routes(desk.invariants), prefix=API)
    oauth.install(web, wiring.tokens_for, wiring.signer_or_none, face=cfg.face(), api=API)
    allow = within(identity.allow, desk.buckets, allowance(cfg.api_per_minute))
    operators = [Depends(allow(Scope.OPERATE))]
    for routes in (
        leads.routes(desk.explain, wiring.find),
        pools.routes(desk.fairness, desk.followed),
        fairness.routes(desk.followed),
        stats.routes(desk.stats, desk.gate),
    ):
        web.include_router(routes, prefix=API, dependencies=operators)
    web.include_router(kept.routes(wiring.baskets, desk.explain, announce, allow), prefix=API)
    tried = trials.routes(trying.try_lead, lambda facts: trying.try_facts(trying.Facts(**facts)))
    web.include_router(tried, prefix=API, dependencies=[Depends(allow(Scope.MANAGE))])
    for router in partner.routers(announce, nudge, cfg):
        web.include_router(router, prefix=API)
    press = Press(wiring.publisher, wiring.people, Once(desk.replays), desk.policy_trouble)
    web.include_router(policy.routes(press, allow), prefix=API)
    page = links.Page(
        links=lambda: wiring.links() if wiring.tells() else None,
        used=wiring.links_used,
        desk=lambda: wiring.desk(announce, nudge),
        opened=lambda link, member: wiring.deliveries().opened(link.offer, member=member, person=link.person),
        answering=wiring.answering,
        style=f"{API}/docs.css",
        now=time.time,
    )
    web.include_router(links.routes(page))
    openapi.install(web, API)
    web.add_middleware(Limits, api=API)
    web.add_middleware(Door)
    return web
