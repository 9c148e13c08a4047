"""Fairturn's settings, said in Celery's words; every odd-looking value answers a failure seen in the wild."""

from collections.abc import Mapping
from typing import Any

from celery.schedules import crontab
from kombu.entity import Queue

from config.settings import Settings
from routing.errors import BadInput
from routing.lane import Lane
from storage.redis.address import Address

#: Where a lane's messages wait.
LANES: Mapping[Lane, str] = {Lane.HOT: "leads.hot", Lane.LIVE: "leads", Lane.BULK: "leads.bulk"}
QUEUES = (*LANES.values(), "outbox", "deliveries", "sweeps")

#: Modules that hold tasks, named here so that moving a file never strands a queued message.
TASK_MODULES = ("tasks.leads", "tasks.outbox", "tasks.deliveries", "tasks.sweeps")

RELAY_EVERY_S = 1.0  # an offer must expire within 2 s of its deadline
CANARY_EVERY_S = 10.0
TRACES_EVERY_S = 5.0
REMOVE_EVERY_S = 300.0
#: A draft that runs beside live is that far behind, at most.
SHADOW_EVERY_S = 60.0
TURNS_EVERY_S = 10.0
AHEAD_EVERY_S = 300.0

# Nudges that nobody took are worthless once newer ones are there: they must not pile up while workers are away.
_NUDGE_LIVES_S = 30


def conf(settings: Settings) -> dict[str, Any]:
    """Celery's configuration. Raises BadInput when no broker is set."""
    if not (settings.broker_url or settings.redis_url):
        raise BadInput(
            "no broker is set",
            field="REDIS_URL",
            fix="Set REDIS_URL (or FAIRTURN_BROKER_URL), or start with `fairturn up`, which brings its own server.",
        )
    return {
        **_broker(settings.broker()),
        **_tasks(),
        **_worker(settings.worker_concurrency),
        "beat_schedule": timetable(
            traces=bool(settings.otlp_endpoint),
            nightly_hour=settings.nightly_hour,
            members_every_s=settings.salesforce_members_every_s if settings.salesforce_login_url else 0,
            seal_every_s=settings.seal_every_s,
            keeps_all=not settings.keep_days,
        ),
        "beat_schedule_filename": str(settings.data_dir / "beat-schedule"),
        "beat_max_loop_interval": 5,
        "timezone": "UTC",
        "enable_utc": True,
    }


def _broker(at: str) -> dict[str, Any]:
    url, options = Address.of(at).for_celery()
    return {
        "broker_url": url,
        # Kombu's own, with a doorkeeper; named as a text, because tasks know the configuration and not the reverse.
        "broker_transport": f"tasks.broker:{'SentinelTransport' if url.startswith('sentinel') else 'Transport'}",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # the default gives up for good after 100
        "broker_transport_options": {
            "visibility_timeout": 300,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,  # without it a publish to a dead peer hangs until killed
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "max_connections": 20,
            "queue_order_strategy": "tasks.broker:HotFirst",
            "priority_steps": [0],  # lanes are queues; Kombu would ask for four lists of each
            **options,
        },
        # One try: a message is a hint, the caller has committed and must not wait.
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
        # Only direct queues on the default exchange: a publish to a named exchange is dropped without a word
        # when the broker has lost its bindings.
        "task_queues": [
            Queue(name, exchange="", routing_key=name)  # type: ignore[no-untyped-call]  # kombu's types are partial
            for name in QUEUES
        ],
        "task_default_queue": "leads",
        "task_default_exchange": "",
        "task_default_routing_key": "leads",
        "task_create_missing_queues": False,
        "task_routes": {
            "leads.*": {"queue": "leads"},
            "outbox.*": {"queue": "outbox"},
            "deliveries.*": {"queue": "deliveries"},
            "sweep.*": {"queue": "sweeps"},
        },
    }


def _tasks() -> dict[str, Any]:
    return {
        "include": list(TASK_MODULES),
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        # A task that kills its worker would be run again at once, for ever; the relay counts attempts instead.
        "task_reject_on_worker_lost": False,
        "task_send_sent_event": False,
        "task_track_started": False,
    }


def _worker(concurrency: int) -> dict[str, Any]:
    return {
        "worker_concurrency": concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_soft_shutdown_timeout": 30,
        "worker_enable_soft_shutdown_on_idle": True,
        "worker_max_tasks_per_child": 2000,
        # KiB. A child begins with some 180,000, shared with its parent, and keeps some 240,000 with 100,000 members: a
        # limit near that would end every child after a few tasks.
        "worker_max_memory_per_child": 400_000,
        # Cancelling is a signal, and a signal during COMMIT leaves its outcome unknown.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_send_task_events": True,  # Flower reads them
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def timetable(
    *,
    traces: bool = True,
    nightly_hour: int = 8,
    members_every_s: float = 30.0,
    seal_every_s: float = 30.0,
    keeps_all: bool = True,
) -> Mapping[str, dict[str, Any]]:
    """When beat nudges what; each nudge may be lost or doubled without harm."""
    canaries = {
        f"canary of {queue}": {
            "task": "sweep.canary",
            "schedule": CANARY_EVERY_S,
            "args": (queue,),
            "options": {"queue": queue, "expires": _NUDGE_LIVES_S},
        }
        for queue in QUEUES
    }
    traced = {
        "traces": {"task": "sweep.traces", "schedule": TRACES_EVERY_S, "options": {"expires": _NUDGE_LIVES_S}},
    }
    watched = {
        "members": {"task": "sweep.members", "schedule": members_every_s, "options": {"expires": _NUDGE_LIVES_S}},
    }
    sealed = {"seals": {"task": "sweep.seal", "schedule": seal_every_s, "options": {"expires": _NUDGE_LIVES_S}}}
    removed = {
        "removal of what is old": {"task": "sweep.remove", "schedule": REMOVE_EVERY_S, "options": {"expires": 300}},
    }
    return {
        **(traced if traces else {}),
        **(sealed if seal_every_s else {}),
        **({} if keeps_all else removed),
        **(watched if members_every_s else {}),
        "relay": {"task": "sweep.relay", "schedule": RELAY_EVERY_S, "options": {"expires": _NUDGE_LIVES_S}},
        "turns": {"task": "sweep.turns", "schedule": TURNS_EVERY_S, "options": {"expires": _NUDGE_LIVES_S}},
        "shadow": {"task": "sweep.shadow", "schedule": SHADOW_EVERY_S, "options": {"expires": _NUDGE_LIVES_S}},
        "minimums": {"task": "sweep.ahead", "schedule": AHEAD_EVERY_S, "options": {"expires": _NUDGE_LIVES_S}},
        "nightly comparison": {
            "task": "sweep.nightly",
            "schedule": crontab(hour=str(nightly_hour), minute="37"),
            "options": {"expires": 3600},
        },
        "hourly sweep": {"task": "sweep.hourly", "schedule": crontab(minute="7"), "options": {"expires": 3600}},
        **canaries,
    }
