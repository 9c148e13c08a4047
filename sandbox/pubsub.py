"""The Pub/Sub API: topics, schemas, and one stream per subscriber."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NoReturn

import grpc

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc
from sandbox import ids
from sandbox.org import Org
from sandbox.subscription import Pace, Subscription
from sandbox.trailers import Context, RpcError, end, ordered, topic_not_found, unauthenticated

_NOT_SERVED = "The sandbox does not serve {}: it is not needed to follow Change Data Capture."


async def _not_served(rpc: str, context: Context) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, _NOT_SERVED.format(rpc))
    raise AssertionError  # abort always raises


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: proven by the metadata of every RPC."""

    user_id: str
    token: str


def caller(org: Org, context: Context) -> Caller:
    """RpcError when a header is missing, the token unknown or the tenant another."""
    metadata = dict(context.invocation_metadata() or ())
    token, instance, tenant = (str(metadata.get(key, "")) for key in ("accesstoken", "instanceurl", "tenantid"))
    if not (token and instance.startswith("http") and tenant):
        raise unauthenticated("service.auth.headers.invalid")
    user_id = org.sessions.get(token)
    if user_id is None or ids.full(tenant) != org.id:
        raise unauthenticated()
    return Caller(user_id, token)


class PubSub(pb_grpc.PubSubServicer):
    """The service, over one org."""

    def __init__(self, org: Org, pace: Pace) -> None:
        self.org = org
        self.pace = pace
        self.streams: set[Subscription] = set()

    async def GetTopic(self, request: pb.TopicRequest, context: Context) -> pb.TopicInfo:  # noqa: N802 - the wire's name
        try:
            await self._enter("GetTopic", context, topic=request.topic_name)
            return self._topic(request.topic_name)
        except RpcError as error:
            await end(context, error, "GetTopic")

    def _topic(self, topic: str) -> pb.TopicInfo:
        entities = self.org.entities(topic)
        if not entities:
            raise topic_not_found(self.org.id, topic)
        # Channels of several objects have no schema of their own.
        schema_id = self.org.current[next(iter(entities))].id if len(entities) == 1 else ""
        return pb.TopicInfo(
            topic_name=topic,
            tenant_guid=f"CORE/prod/{self.org.id[: ids.SHORT]}",
            can_publish=False,
            can_subscribe=True,
            schema_id=schema_id,
            rpc_id=str(uuid.uuid4()),
        )

    async def GetSchema(self, request: pb.SchemaRequest, context: Context) -> pb.SchemaInfo:  # noqa: N802 - the wire's name
        try:
            await self._enter("GetSchema", context)
            return self._schema(request.schema_id)
        except RpcError as error:
            await end(context, error, "GetSchema")

    def _schema(self, schema_id: str) -> pb.SchemaInfo:
        found = self.org.schemas.get(schema_id)
        if found is None:
            why = "The schema ID is unknown." if schema_id else "The schema ID can't be blank."
            raise RpcError("INVALID_ARGUMENT", "schema.validation.failed", f"Schema validation failed. {why}")
        return pb.SchemaInfo(schema_json=found.json, schema_id=found.id, rpc_id=str(uuid.uuid4()))

    async def Subscribe(  # noqa: N802 - the wire's name
        self, requests: AsyncIterator[pb.FetchRequest], context: Context
    ) -> AsyncIterator[pb.FetchResponse]:
        try:
            who = await self._enter("Subscribe", context)
            first = await anext(requests, None)
            if first is None:
                return
            subscription = Subscription(self.org, self.pace, first, who.token)
            async for response in self._served(subscription, requests):
                yield response
        except RpcError as error:
            await end(context, error, "Subscribe")

    async def _served(
        self, subscription: Subscription, requests: AsyncIterator[pb.FetchRequest]
    ) -> AsyncIterator[pb.FetchResponse]:
        self.streams.add(subscription)
        self.org.bus.listeners.add(subscription.wake)
        reader = asyncio.create_task(subscription.listen(requests))
        try:
            async for response in subscription.responses():
                yield response
        finally:
            self.org.bus.listeners.discard(subscription.wake)
            self.streams.discard(subscription)
            reader.cancel()

    async def _enter(self, rpc: str, context: Context, *, topic: str = "") -> Caller:
        """Lets a known caller in, unless a fault stands in the door."""
        fault = self.org.faults.take("call", {"rpc": rpc, "topic": topic})
        if fault and fault.kind == "stall":
            await asyncio.sleep(float(fault.args.get("seconds", 3600)))
        elif fault:
            raise ordered(fault.args)
        return caller(self.org, context)

    async def Publish(self, _request: pb.PublishRequest, context: Context) -> pb.PublishResponse:  # noqa: N802 - the wire's name
        await _not_served("Publish", context)

    async def PublishStream(self, _requests: AsyncIterator[pb.PublishRequest], context: Context) -> None:  # noqa: N802 - the wire's name
        await _not_served("PublishStream", context)

    async def ManagedSubscribe(self, _requests: AsyncIterator[pb.ManagedFetchRequest], context: Context) -> None:  # noqa: N802 - the wire's name
        await _not_served("ManagedSubscribe", context)

    def cut(self, name: str) -> int:
        """Ends every open stream with a named error; how many there were."""
        for subscription in self.streams:
            subscription.fail(ordered({"name": name}))
        return len(self.streams)
