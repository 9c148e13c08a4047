"""Is this part well? `python -m workers.health NAME` says so in one line and by its exit code, for containers."""

import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from config import celery as celery_config
from config import flower_login, settings
from config.ops import Check, canary
from config.settings import Settings
from routing.errors import FairturnError
from storage.postgres.engine import connect
from storage.postgres.heartbeats import Heartbeats

SHOWN_AT_MOST_S = 60.0
_ANSWER_S = 3.0


def web(cfg: Settings) -> Check:
    """The web process answers."""
    return _answers("web", cfg.web_host, cfg.web_port, "/healthz", {})


def ready(cfg: Settings) -> Check:
    """Everything a lead needs on its way is there."""
    return _answers("ready", cfg.web_host, cfg.web_port, "/readyz", {})


def flower(cfg: Settings) -> Check:
    """Flower answers those who log in."""
    login = b64encode(":".join(flower_login.login(cfg)).encode()).decode()
    return _answers("flower", cfg.flower_host, cfg.flower_port, "/healthcheck", {"Authorization": f"Basic {login}"})


def subscriber(cfg: Settings) -> Check:
    """The reader of the change stream showed itself lately."""
    return _showed_itself(cfg, "subscriber")


def standby(cfg: Settings) -> Check:
    """Whoever does the work while the broker is away showed itself lately."""
    return _showed_itself(cfg, "standby")


def worker(cfg: Settings) -> Check:
    """Somebody works on every queue: a ping would only prove that somebody listens."""
    ages = _ages(cfg)
    found = [canary(queue, ages.get(f"queue:{queue}")) for queue in celery_config.QUEUES]
    return next((check for check in found if not check.ok), found[0])


def beat(cfg: Settings) -> Check:
    """Beat's canaries arrive somewhere; when none does, beat or every worker is away."""
    ages = _ages(cfg)
    return min((canary(queue, ages.get(f"queue:{queue}")) for queue in celery_config.QUEUES), key=lambda c: not c.ok)


PARTS: Mapping[str, Callable[[Settings], Check]] = {
    "web": web, "ready": ready, "flower": flower, "subscriber": subscriber, "standby": standby, "worker": worker,
    "beat": beat,
}  # fmt: skip


def main(names: list[str]) -> int:
    """0 when the part is well, 1 when it is not, 2 when there is no such part."""
    if len(names) != 1 or names[0] not in PARTS:
        sys.stderr.write(f"Name one of: {', '.join(PARTS)}.\n")
        return 2
    try:
        check = PARTS[names[0]](settings.load())
    except FairturnError as exc:
        check = Check(names[0], ok=False, detail=str(exc))
    sys.stdout.write(f"{names[0]}: {'ok' if check.ok else 'NOT WELL'}: {check.detail}\n")
    return 0 if check.ok else 1


def _showed_itself(cfg: Settings, name: str) -> Check:
    age = _ages(cfg).get(name)
    if age is None:
        return Check(name, ok=False, detail="it has not shown itself yet")
    return Check(name, ok=age <= SHOWN_AT_MOST_S, detail=f"it showed itself {age:.0f} s ago")


def _ages(cfg: Settings) -> dict[str, float]:
    # Not through the wiring: a check that runs every few seconds must not load the whole house.
    engine = connect(cfg.sqlalchemy_url(), pool_size=1)
    try:
        return {beat.name: beat.age_s for beat in Heartbeats(engine).all()}
    finally:
        engine.dispose()


def _answers(name: str, host: str, port: int, path: str, headers: Mapping[str, str]) -> Check:
    shown = f"http://{'127.0.0.1' if host in {'0.0.0.0', '::', ''} else host}:{port}{path}"
    try:
        with urlopen(Request(shown, headers=dict(headers)), timeout=_ANSWER_S) as answer:
            return Check(name, ok=True, detail=f"{shown} answers {answer.status}")
    except HTTPError as exc:
        with exc:
            return Check(name, ok=False, detail=f"{shown} answers {exc.code}")
    except (OSError, HTTPException) as exc:
        return Check(name, ok=False, detail=f"{shown} does not answer: {type(exc).__name__}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
