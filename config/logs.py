"""Logs are events: one line each, JSON or text, UTC, without personal data or secrets."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from routing.errors import FairturnError

_SECRET_KEY = re.compile(
    r"passw(or)?d|secret|token|authorization|api_?key|private_?key|cookie|credential", re.IGNORECASE
)
_HARMLESS_KEYS = frozenset({"token_count", "tokens_revoked"})
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_SECRETS = (
    re.compile(r"(?<=://)[^\s/@]*:[^\s/@]+(?=@)"),  # the password of a URL
    re.compile(r"\b(?:bearer|basic)\s+[\w.~+/=!-]{8,}", re.IGNORECASE),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),  # JSON Web Tokens
    re.compile(r"\bf[tr]_[\w-]{16,}"),  # our API keys and refresh tokens
    re.compile(r"\b00D\w{12}(?:\w{3})?![\w.]+"),  # Salesforce sessions
    re.compile(r"\b(?:password|secret|token|api_?key)=[^\s&,;]+", re.IGNORECASE),
)
_DIGITS = re.compile(r"(?<![\w.:-])\+?\(?\d[\d\s().-]{5,22}\d(?![\w:-])")
_DATE_OR_ADDRESS = re.compile(r"\d{4}-\d\d-\d\d.*|\d{1,3}(?:\.\d{1,3}){3}|\d+\.\d+", re.DOTALL)
_FRAMES = 12

#: Neighbours that log through `logging`, and the level from which they are heard.
_NEIGHBOURS = {
    "celery.app.trace": logging.WARNING,  # tells of each task; our task.done does
    "celery.worker.strategy": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,  # paths with whatever a caller put there; our http.done has the route
    "tornado.access": logging.CRITICAL,
    "sqlalchemy.engine": logging.WARNING,  # statements with their values
    "httpx": logging.WARNING,
    "urllib3": logging.WARNING,  # URLs with addresses and keys
    "geopy": logging.WARNING,  # likewise
    "kombu": logging.INFO,
    "celery.beat": logging.WARNING,  # a line a nudge
    "grpc": logging.WARNING,
    "alembic": logging.INFO,
}


def setup(
    level: str = "INFO", shape: Literal["json", "text"] = "json", *, process: str = "", stream: TextIO | None = None
) -> None:
    """From now on everything this process logs is one redacted line an event on `stream` (standard error)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _named(process),
                failures,
                redact,
                _as_json if shape == "json" else _as_text,
            ],
            # Foreign lines are formatted by us; the records of our own already are event dictionaries.
            use_get_message=True,
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    _quieten(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _quieten(level: str) -> None:
    """Neighbours lose their own handlers: all lines leave by the one door."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "celery.task", "alembic", "tornado"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name, least in _NEIGHBOURS.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelNamesMapping()[level]))


def _named(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if process:
            event.setdefault("process", process)
        return event

    return add


def failures(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """`exc_info` becomes the types and the places of the failure; messages of others may hold personal data."""
    told = event.pop("exc_info", None)
    if told is True:
        told = sys.exc_info()
    error = told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        event["failure"] = tell(error)
    event.pop("exc_text", None)
    event.pop("stack_info", None)
    return event


def tell(error: BaseException) -> list[dict[str, Any]]:
    """The chain of an exception, outermost first: type, places, and the sentence only when it is ours."""
    chain: list[dict[str, Any]] = []
    here: BaseException | None = error
    while here is not None and len(chain) < _FRAMES:
        link: dict[str, Any] = {"type": f"{type(here).__module__}.{type(here).__qualname__}"}
        if isinstance(here, FairturnError):
            link["message"] = str(here)
        elif isinstance(here, OSError) and here.strerror:
            link["message"] = here.strerror
        frames = traceback.extract_tb(here.__traceback__)[-_FRAMES:]
        link["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append(link)
        here = here.__cause__ or (None if here.__suppress_context__ else here.__context__)
    return chain


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The net under the rule that only ids are logged: what looks personal or secret is blanked."""
    return {key: _clean(value, key) for key, value in event.items()}


def _clean(value: Any, key: str = "") -> Any:
    if key in {"at", "level"}:
        return value
    if key and _SECRET_KEY.search(key) and key not in _HARMLESS_KEYS and value not in (None, ""):
        return "[secret]"
    match value:
        case str():
            return scrub(value)
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _clean(item, str(name)) for name, item in value.items()}
        case bytes() | bytearray():
            return f"[{len(value)} bytes]"
        case Sequence() | set() | frozenset():
            return [_clean(item) for item in value]
        case _:
            return scrub(str(value))


def scrub(text: str) -> str:
    """The text without what looks like a mail address, a telephone number or a secret."""
    for pattern in _SECRETS:
        text = pattern.sub("[secret]", text)
    return _DIGITS.sub(_without_phone, _EMAIL.sub("[email]", text))


def _without_phone(found: re.Match[str]) -> str:
    text = found.group()
    digits = sum(c.isdigit() for c in text)
    least = 7 if text.startswith(("+", "(")) else 10
    if not least <= digits <= 15 or _DATE_OR_ADDRESS.fullmatch(text):
        return text
    return "[phone]"


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    head = {"at": event.pop("at", None), "level": event.pop("level", None), "event": event.pop("event", None)}
    return json.dumps({**head, **event}, default=str)


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    at, level, name = event.pop("at", ""), event.pop("level", ""), str(event.pop("event", ""))
    facts = " ".join(f"{key}={json.dumps(value, default=str)}" for key, value in event.items())
    # A line break in a value must not start a line that looks like ours.
    return f"{at} {level:<8} {json.dumps(name)[1:-1]} {facts}".rstrip()
