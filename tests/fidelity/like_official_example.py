"""The wire habits of Salesforce's own Python example, written anew.

SOAP result read by position, a root certificate passed as bytes, CUSTOM and a replay id on every FetchRequest,
payloads decoded by the `avro` package, bitmaps by way of a bit string. Prints one JSON object.
"""

import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import avro.io  # type: ignore[import-not-found]  # installed for this run only
import avro.schema  # type: ignore[import-not-found]  # installed for this run only
import grpc
import requests

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc

TOPIC = "/data/LeadChangeEvent"
_LOGIN = (
    "<soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/envelope/' "
    "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:urn='urn:partner.soap.sforce.com'><soapenv:Body>"
    "<urn:login><urn:username><![CDATA[{}]]></urn:username><urn:password><![CDATA[{}]]></urn:password></urn:login>"
    "</soapenv:Body></soapenv:Envelope>"
)


def log_in() -> tuple[tuple[str, str], ...]:
    """The metadata of every call, from positions in the login's answer."""
    headers = {"content-type": "text/xml", "SOAPAction": "Login"}
    url = f"http://localhost:{os.environ['HTTP']}/services/Soap/u/57.0/"
    answer = requests.post(url, _LOGIN.format("official@org.invalid", "any"), headers=headers, timeout=10)
    answer.raise_for_status()
    result = ET.fromstring(answer.content)[0][0][0]  # noqa: S314 - our own loopback server
    server = result[3].text or ""
    instance = "/".join(server.split("/")[:3])
    return (("accesstoken", result[4].text or ""), ("instanceurl", instance), ("tenantid", result[6][8].text or ""))


def changed(schema: Any, bitmaps: list[str]) -> list[str]:
    """Field names of a bitmap array, dotted for compounds."""
    names: list[str] = []
    for each in bitmaps:
        position, dash, bits = each.rpartition("-")
        fields, prefix = schema.fields, ""
        if dash:
            parent = schema.fields[int(position)]
            fields, prefix = parent.type.schemas[1].fields, f"{parent.name}."
        lowest_first = reversed(f"{int(bits, 16):b}")
        names += [prefix + fields[n].name for n, bit in enumerate(lowest_first) if bit == "1"]
    return names


def main() -> None:
    metadata = log_in()
    wanted, replay_id = int(os.environ["EVENTS"]), bytes.fromhex(os.environ["REPLAY_HEX"])
    credentials = grpc.ssl_channel_credentials(Path(os.environ["CA"]).read_bytes())
    more = threading.Semaphore(1)

    def requests_for_one() -> Iterator[pb.FetchRequest]:
        while True:
            more.acquire()
            yield pb.FetchRequest(topic_name=TOPIC, replay_preset=pb.CUSTOM, replay_id=replay_id, num_requested=1)

    with grpc.secure_channel(f"localhost:{os.environ['GRPC_TLS']}", credentials) as channel:
        stub: Any = pb_grpc.PubSubStub(channel)  # type: ignore[no-untyped-call]  # generated
        schema_id = stub.GetTopic(pb.TopicRequest(topic_name=TOPIC), metadata=metadata).schema_id
        schema = avro.schema.parse(stub.GetSchema(pb.SchemaRequest(schema_id=schema_id), metadata=metadata).schema_json)
        stream = stub.Subscribe(requests_for_one(), metadata=metadata)
        seen = []
        for response in stream:
            for event in response.events:
                decoder = avro.io.BinaryDecoder(io.BytesIO(event.event.payload))
                body = avro.io.DatumReader(schema).read(decoder)
                header = body["ChangeEventHeader"]
                seen.append({"type": header["changeType"], "changed": changed(schema, header["changedFields"])})
            if len(seen) >= wanted:
                break
            if response.pending_num_requested == 0:
                more.release()
        stream.cancel()
    sys.stdout.write(json.dumps({"schema": schema.name, "events": seen}))
    sys.stdout.flush()
    os._exit(0)  # the request iterator still waits for its semaphore


if __name__ == "__main__":
    main()
