"""The processes' doors: http, https, gRPC in the clear and over TLS, all on one loop and one org."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvicorn

from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc
from sandbox.org import Org
from sandbox.pubsub import PubSub
from sandbox.rest.app import build_app
from sandbox.subscription import Pace
from sandbox.tls import Identity

HOST = "127.0.0.1"
_GRPC_OPTIONS = [
    ("grpc.http2.max_ping_strikes", 0),  # clients that ping every 10 s would be thrown out otherwise
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
]


@dataclass(frozen=True, slots=True)
class Doors:
    """Ports to listen on, 0 for any free one, and where to leave the authority's certificate."""

    ca_out: Path
    http: int = 0
    https: int = 0
    grpc: int = 0
    grpc_tls: int = 0
    pace: Pace = field(default_factory=Pace)


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handlers: this process has four doors and one way out."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class PortTaken(Exception):  # noqa: N818 - says what is wrong
    """Something else listens on this port already."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} on {HOST} is taken; choose another, or 0 for any free one")


def _open(server: grpc.aio.Server, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    address = f"{HOST}:{port}"
    try:
        if credentials:
            return int(server.add_secure_port(address, credentials))
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise PortTaken(port) from error


def _listening(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise PortTaken(port) from error
    return sock


def _web(app: Any, tls: Path | None) -> _Quiet:
    options: dict[str, Any] = {"ssl_certfile": str(tls), "ssl_keyfile": str(tls)} if tls else {}
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        server_header=False,
        **options,
    )
    return _Quiet(config)


async def _rpc(service: PubSub, doors: Doors, own: Identity) -> tuple[grpc.aio.Server, int, int]:
    server = grpc.aio.server(options=_GRPC_OPTIONS)
    pb_grpc.add_PubSubServicer_to_server(service, server)  # type: ignore[no-untyped-call]  # generated
    credentials = grpc.ssl_server_credentials([(own.key, own.certificate)])
    plain = _open(server, doors.grpc)
    secure = _open(server, doors.grpc_tls, credentials)
    await server.start()
    return server, plain, secure


async def serve(org: Org, doors: Doors, own: Identity) -> None:
    """Serves until SIGTERM or SIGINT; one JSON line on stdout says where, once all doors are open."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    doors.ca_out.write_bytes(own.ca)
    with tempfile.TemporaryDirectory() as folder:
        tls = Path(folder) / "server.pem"
        tls.write_bytes(own.key + own.certificate)
        await _serve(org, doors, own, tls, stop)


async def _serve(org: Org, doors: Doors, own: Identity, tls: Path, stop: asyncio.Event) -> None:
    http, https = _listening(doors.http), _listening(doors.https)
    service = PubSub(org, doors.pace)
    rpc, grpc_port, grpc_tls_port = await _rpc(service, doors, own)
    app = build_app(org, service, https.getsockname()[1])
    webs = [_web(app, None), _web(app, tls)]
    tasks = [asyncio.create_task(web.serve(sockets=[sock])) for web, sock in zip(webs, (http, https), strict=True)]
    while not all(web.started for web in webs):  # noqa: ASYNC110 - uvicorn offers nothing to await
        await asyncio.sleep(0.005)
    ready = {
        "ready": True,
        "http": http.getsockname()[1],
        "https": https.getsockname()[1],
        "grpc": grpc_port,
        "grpc_tls": grpc_tls_port,
        "ca": str(doors.ca_out.resolve()),
        "org_id": org.id,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await stop.wait()
    for web in webs:
        web.should_exit = web.force_exit = True  # idle connections of clients would hold us up
    await rpc.stop(grace=0.2)
    await asyncio.gather(*tasks)
    org.journal.flush(org)
