"""Flower behind a login, always: it shows every task and its ids, and could be told to run them."""

import os
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from hmac import compare_digest
from pathlib import Path
from typing import Any

import structlog
from flower.app import Flower
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from config import logs, settings
from config.settings import Settings
from routing.errors import BadInput, FairturnError

log = structlog.get_logger()

CONF_FILE = Path(__file__).with_name("flower.py")


def prepared() -> dict[str, Any]:
    """Set up logging and the door, and hand Flower its options; ends the process with one sentence on bad input."""
    try:
        cfg = settings.load()
        logs.setup(cfg.log_level, cfg.log_format, process="flower")
        refuse_open_api(os.environ)
        user, password = login(cfg)
    except FairturnError as exc:
        raise SystemExit(str(exc)) from exc
    guard(user, password)
    return options(cfg, user, password)


def refuse_open_api(environ: Mapping[str, str]) -> None:
    """Raises BadInput when Flower is told to let anybody run tasks."""
    if environ.get("FLOWER_UNAUTHENTICATED_API"):
        raise BadInput(
            "lets anybody who reaches Flower run tasks",
            field="FLOWER_UNAUTHENTICATED_API",
            fix="Unset it; use the login of FAIRTURN_FLOWER_USER for the API, too.",
        )


def login(cfg: Settings) -> tuple[str, str]:
    """User and password. A password that is not set is made up once and kept for the owner's eyes in the data dir."""
    if not cfg.flower_user or ":" in cfg.flower_user:
        raise BadInput("cannot be empty or hold a colon", field="FAIRTURN_FLOWER_USER", fix="Choose another name.")
    return cfg.flower_user, cfg.flower_password.get_secret_value() or _kept(password_file(cfg))


def password_file(cfg: Settings) -> Path:
    """Where a made-up password is kept."""
    return cfg.data_dir / "flower.password"


def _kept(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_urlsafe(18))
    try:
        os.link(fresh, path)  # of two starters at once the first wins, and nobody reads half a file
    except FileExistsError:
        pass
    else:
        log.info("flower.password_made", file=str(path))
    finally:
        fresh.unlink()
    return path.read_text("utf-8").strip()


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


class Stranger(RequestHandler):
    """The answer to whoever does not say who they are."""

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
