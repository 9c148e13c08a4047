"""gRPC failures as Salesforce answers them: a status, a sentence, and trailers that name the error."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_PREFIX = "sfdc.platform.eventbus.grpc."


@dataclass
class RpcError(Exception):
    """Ends a call. Without `suffix` it ends like a broken connection, with no trailers."""

    status: str
    suffix: str
    message: str


def unauthenticated(suffix: str = "service.auth.error") -> RpcError:
    message = "An authentication exception occurred. Provide valid authentication via metadata headers."
    return RpcError("UNAUTHENTICATED", suffix, message)


NAMED: Mapping[str, RpcError] = {
    "auth_error": unauthenticated(),
    "service_unavailable": RpcError("INTERNAL", "service.unavailable", "The service is unavailable. Try again later."),
    "rst_stream": RpcError("UNAVAILABLE", "", "RST_STREAM closed stream"),
    "rst_stream_internal": RpcError("INTERNAL", "", "Received RST_STREAM with code 0"),
    "replayid_corrupted": RpcError(
        "INVALID_ARGUMENT",
        "subscription.fetch.replayid.corrupted",
        "The Replay ID validation failed. Ensure that the Replay ID is valid and refers to an event within the "
        "retention window.",
    ),
    "replayid_validation_failed": RpcError(
        "INVALID_ARGUMENT",
        "subscription.fetch.replayid.validation.failed",
        "The Replay ID validation failed. A Replay ID is required with the CUSTOM replay preset.",
    ),
    "limit_exceeded": RpcError(
        "RESOURCE_EXHAUSTED",
        "subscription.limit.exceeded",
        "The limit on the number of delivered events in the last 24 hours was exceeded.",
    ),
    "too_many_streams": RpcError(
        "RESOURCE_EXHAUSTED",
        "service.protection.stream.limit.triggered",
        "The maximum number of concurrent streams was exceeded.",
    ),
    "topic_permission": RpcError(
        "PERMISSION_DENIED",
        "topic.meta.permission",
        "An error occurred while getting the metadata for the topic. Ensure the credentials and topic name are correct",
    ),
}


def topic_not_found(org_id: str, topic: str) -> RpcError:
    """What an object answers that is not selected for Change Data Capture."""
    if not topic:
        return RpcError("INVALID_ARGUMENT", "topic.validation.empty", "The topic name can't be blank.")
    message = (
        f"The topic information for org CORE/prod/{org_id[:15]} and topic {topic} not found. "
        f"Ensure the topic name is correct and that the topic exists."
    )
    return RpcError("NOT_FOUND", "topic.not.found", message)


def ordered(args: Mapping[str, Any]) -> RpcError:
    """The error a fault asks for: by name, or spelled out as status, suffix, message."""
    if "name" in args:
        return NAMED[args["name"]]
    return RpcError(
        args.get("status", "INTERNAL"), args.get("suffix", ""), args.get("message", "The service is unavailable.")
    )


async def end(context: Context, error: RpcError, kind: str) -> NoReturn:
    """Ends the call with this error; `kind` is the RPC's name."""
    code = grpc.StatusCode[error.status]
    if not error.suffix:
        await context.abort(code, error.message)
    rpc_id = str(uuid.uuid4())
    trailers = (("error-code", _PREFIX + error.suffix), ("rpc-id", rpc_id), ("type", kind))
    await context.abort(code, f"{error.message} rpcId: {rpc_id}", trailers)
    raise AssertionError  # abort always raises
