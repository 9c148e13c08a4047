"""Webhooks of a company, and browsers of a person that take push."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from gateways.notify.guard import target
from gateways.notify.webhook import new_secret
from routing.access import Principal
from routing.errors import BadInput
from storage.postgres.devices import Devices
from storage.postgres.endpoints import Endpoint, Endpoints
from web.api.partner.models import View
from web.api.partner.offers import member_of
from web.api.said import said

HookId = Annotated[UUID, Path(description="The webhook's id.")]
DeviceId = Annotated[UUID, Path(description="The device's id.")]


class HookWish(BaseModel):
    """Where to call."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://app.acme.example/fairturn"}]}
    )

    url: str = Field(min_length=1, max_length=2000, description="Public, https, port 443.")


class HookChange(BaseModel):
    """Call it, or do not."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"state": "active"}]})

    state: Literal["active", "disabled"]


class HookView(View):
    """A webhook."""

    id: UUID
    url: str
    state: Literal["active", "disabled"]
    why: str | None = Field(description="It is disabled, such as: it answered 410.")
    failures: int = Field(description="Calls in a row that came to nothing.")
    failing_since: datetime | None
    old_secret_until: datetime | None = Field(description="So long the secret before this one signs as well.")
    created_at: datetime


class HookMade(HookView):
    """A webhook, and the secret it signs with: shown this once."""

    secret: str = Field(description="As the Standard Webhooks libraries take it: whsec_...")


class HooksView(View):
    """Your webhooks."""

    hooks: list[HookView]


class Keys(BaseModel):
    """As the browser gives them, base64url."""

    model_config = ConfigDict(extra="forbid")

    p256dh: str = Field(min_length=1, max_length=200)
    auth: str = Field(min_length=1, max_length=100)


class Subscription(BaseModel):
    """What the browser's PushManager gives, as JSON."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = Field(min_length=1, max_length=2000)
    keys: Keys
    expirationTime: float | None = None  # noqa: N815 - the browser's word


class DeviceWish(BaseModel):
    """A browser that takes push."""

    model_config = ConfigDict(extra="forbid")

    subscription: Subscription
    label: str = Field("", max_length=80, description="To tell your devices apart.")


class DeviceView(View):
    """A browser that takes push."""

    id: UUID
    label: str
    created_at: datetime


class DevicesView(View):
    """Your devices."""

    devices: list[DeviceView]


class PushKey(View):
    """Whom your browser will hear from."""

    public_key: str = Field(description="The applicationServerKey to subscribe with.")


def hooks(
    endpoints: Callable[[], Endpoints], allow: Callable[..., Callable[..., Principal]], *, loopback: bool
) -> APIRouter:
    """`/hooks`."""
    router = APIRouter(prefix="/hooks", tags=["webhooks"])
    manager = Annotated[Principal, Depends(allow("hooks:manage"))]

    @router.get("", operation_id="listHooks", summary="Your webhooks", responses=said(200, 403))
    def list_hooks(principal: manager) -> HooksView:
        """Without their secrets."""
        return HooksView(hooks=[_hook(one) for one in endpoints().of(member_of(principal))])

    @router.post("", operation_id="addHook", summary="Be called", status_code=201, responses=said(201, 403, 409))
    def add_hook(principal: manager, wish: HookWish) -> HookMade:
        """Calls are signed by Standard Webhooks, and say ids and states only. The secret is shown this once."""
        member, secret = member_of(principal), new_secret()
        made = endpoints().add(member, target(wish.url, loopback=loopback).url, secret, actor=_by(principal))
        return _made(made, secret)

    @router.patch(
        "/{hook_id}", operation_id="changeHook", summary="Call it again, or no more", responses=said(200, 403, 404)
    )
    def change_hook(principal: manager, hook_id: HookId, change: HookChange) -> HookView:
        """One that was disabled because it failed is called again at once."""
        member, by = member_of(principal), _by(principal)
        if change.state == "active":
            return _hook(endpoints().enable(member, hook_id, actor=by))
        return _hook(endpoints().disable(member, hook_id, "by your own wish", actor=by))

    @router.post(
        "/{hook_id}/secret", operation_id="changeHookSecret", summary="A new secret", responses=said(200, 403, 404)
    )
    def change_secret(principal: manager, hook_id: HookId) -> HookMade:
        """For a day the one before signs as well. The new one is shown this once."""
        secret = new_secret()
        return _made(endpoints().change_secret(member_of(principal), hook_id, secret, actor=_by(principal)), secret)

    @router.delete(
        "/{hook_id}", operation_id="removeHook", summary="Be called no more", status_code=204, responses=said(204, 403)
    )
    def remove_hook(principal: manager, hook_id: HookId) -> None:
        """One that is gone already is no error."""
        endpoints().remove(member_of(principal), hook_id, actor=_by(principal))

    return router


def devices(
    held: Callable[[], Devices],
    public_key: Callable[[], str],
    subscription: Callable[[dict[str, Any]], dict[str, Any]],
    allow: Callable[..., Callable[..., Principal]],
) -> APIRouter:
    """`/devices` and `/push-key`; `subscription` raises BadInput for one that cannot be."""
    router = APIRouter(tags=["devices"])
    reader = Annotated[Principal, Depends(allow("me:read"))]
    writer = Annotated[Principal, Depends(allow("me:write"))]

    @router.get("/push-key", operation_id="getPushKey", summary="The key to take push with", responses=said(200, 403))
    def push_key(principal: reader) -> PushKey:
        """The same for ever."""
        member_of(principal)
        return PushKey(public_key=public_key())

    @router.get("/devices", operation_id="listDevices", summary="Your devices", responses=said(200, 403))
    def list_devices(principal: reader) -> DevicesView:
        """Browsers of yours that take push."""
        found = held().of(member_of(principal), _person(principal))
        return DevicesView(devices=[DeviceView.model_validate(one) for one in found])

    @router.post(
        "/devices", operation_id="addDevice", summary="Take push here", status_code=201, responses=said(201, 403)
    )
    def add_device(principal: writer, wish: DeviceWish) -> DeviceView:
        """What is pushed says that there is an offer, and no more. Given twice, it is done once."""
        told = subscription(wish.subscription.model_dump(exclude={"expirationTime"}))
        made = held().add(member_of(principal), _person(principal), told, label=wish.label)
        return DeviceView.model_validate(made)

    @router.delete(
        "/devices/{device_id}",
        operation_id="removeDevice",
        summary="Take no more push there",
        status_code=204,
        responses=said(204, 403),
    )
    def remove_device(principal: writer, device_id: DeviceId) -> None:
        """One that is gone already is no error."""
        held().remove(member_of(principal), _person(principal), device_id)

    return router


def _person(principal: Principal) -> UUID:
    if principal.person_id is None:
        raise BadInput("a program has no devices", field="Authorization", fix="Log in as a person.")
    return principal.person_id


def _hook(endpoint: Endpoint) -> HookView:
    return HookView.model_validate(endpoint)


def _made(endpoint: Endpoint, secret: str) -> HookMade:
    return HookMade(**_hook(endpoint).model_dump(), secret=secret)


def _by(principal: Principal) -> str:
    return f"{principal.kind}:{principal.id}"
