"""Who may look at Flower."""

import os
import secrets
from pathlib import Path

import structlog

from config.settings import Settings
from routing.errors import BadInput

log = structlog.get_logger()

#: What Flower reads at its start.
CONF_FILE = Path(__file__).with_name("flower.py")


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
