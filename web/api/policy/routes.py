"""Versions of the policy, for managers: seen, compared, drafted, approved, published, scheduled, rolled back."""

from collections.abc import Callable

from fastapi import APIRouter, Depends

from routing.access import Principal, Scope
from web.api.policy import changes, looks
from web.api.policy.press import Press


def routes(press: Press, allow: Callable[..., Callable[..., Principal]]) -> APIRouter:
    """`/policy/...`."""
    router = APIRouter(prefix="/policy", tags=["policy"])
    manager = Depends(allow(Scope.MANAGE))
    looks.looks(router, press, manager)
    changes.drafts(router, press, manager)
    changes.changes(router, press, manager)
    return router
