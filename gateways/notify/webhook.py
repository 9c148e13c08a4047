"""Webhooks by the Standard Webhooks specification (standardwebhooks.com), signed by its own library."""

import base64
import secrets as dice
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

#: Bytes of a secret; the specification asks for 24 to 64.
SECRET_BYTES = 32


def new_secret() -> str:
    """A secret as receivers' libraries take it."""
    return f"whsec_{base64.b64encode(dice.token_bytes(SECRET_BYTES)).decode()}"


def payload(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """What is told: the kind of event, when it was, and ids."""
    return orjson.dumps({"type": kind, "timestamp": at, "data": data}, option=orjson.OPT_UTC_Z)


def headers(secrets: Sequence[str], message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The head of a call; every secret signs, so that a receiver may change over while two are in use."""
    signatures = [Webhook(secret).sign(message_id, now, body.decode()) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
