"""Flower behind a login, always: it shows every task and its ids, and could be told to run them."""

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any

from flower.app import Flower
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from config import logs, settings
from config.flower_login import login
from config.settings import Settings
from routing.errors import BadInput, FairturnError
from storage.redis.address import Address


def prepared() -> dict[str, Any]:
    """Set up logging and the door, and hand Flower its options; ends the process with one sentence on bad input."""
    try:
        refuse_open_api(os.environ)
        cfg = settings.load()
        logs.setup(cfg.log_level, cfg.log_format, process="flower")
        user, password = login(cfg)
    except FairturnError as exc:
        raise SystemExit(str(exc)) from exc
    guard(user, password)
    show_queues(broker_url(cfg))
    return options(cfg, user, password)


def refuse_open_api(environ: Mapping[str, str]) -> None:
    """Raises BadInput when Flower is told to let anybody run tasks."""
    if environ.get("FLOWER_UNAUTHENTICATED_API"):
        raise BadInput(
            "lets anybody who reaches Flower run tasks",
            field="FLOWER_UNAUTHENTICATED_API",
            fix="Unset it; use the login of FAIRTURN_FLOWER_USER for the API, too.",
        )


def options(cfg: Settings, user: str, password: str) -> dict[str, Any]:
    """Flower's options, by its names."""
    return {
        "address": cfg.flower_host,
        "port": cfg.flower_port,
        "basic_auth": [f"{user}:{password}"],
        "natural_time": True,
        "tasks_columns": "name,uuid,state,args,result,received,runtime,worker",
        "persistent": False,
        "max_tasks": 20_000,
        "purge_offline_workers": 600,
        "read_only": True,  # for looking; what changes things goes through `fairturn`
    }


def broker_url(cfg: Settings) -> str:
    """The broker in words that Flower knows; of several sentinels the first."""
    return Address.of(cfg.broker()).for_celery()[0].partition(";")[0]


def show_queues(url: str, flower: Any = Flower) -> None:
    """Let Flower look at the queues there: from Celery it would hear of our own transport, which it does not know."""
    flower.broker_uri_with_password = property(lambda _self: url)


class Stranger(RequestHandler):
    """The answer to whoever does not say who they are."""

    def check_xsrf_cookie(self) -> None:
        """There is nothing here to protect; without this, a POST would be told something else than a GET."""

    def prepare(self) -> None:
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="Fairturn", charset="UTF-8"')
        self.finish("Log in with FAIRTURN_FLOWER_USER and its password.\n")


def guard(user: str, password: str, flower: Any = Flower) -> None:
    """Let nobody in without the login. Flower alone would show /metrics, its health and its files to anybody."""
    expected = b"Basic " + b64encode(f"{user}:{password}".encode())
    inside: Callable[..., Any] = flower.find_handler

    def find_handler(self: Any, request: HTTPServerRequest, **kwargs: Any) -> Any:
        given = request.headers.get("Authorization", "").encode()
        if not compare_digest(given, expected):
            return self.get_handler_delegate(request, Stranger)
        return inside(self, request, **kwargs)

    flower.find_handler = find_handler
