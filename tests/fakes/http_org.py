"""A real HTTP server on loopback that answers as a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ORG, USER = "00D000000000001EAA", "005000000000001AAA"


@dataclass(frozen=True)
class Answer:
    """What to say."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body).items()}


class HttpOrg:
    """Hands out tokens t1, t2 ... and gives everything else to `answer`."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.logins = 0
        self.token_answer: Answer | None = None
        self.answer: Callable[[Asked], Answer] = lambda _asked: Answer(404, [{"errorCode": "NOT_FOUND", "message": ""}])

    def reply(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.path != "/services/oauth2/token":
            return self.answer(asked)
        self.logins += 1
        return self.token_answer or Answer(
            body={
                "access_token": f"t{self.logins}",
                "instance_url": self.url,
                "id": f"https://login.salesforce.com/id/{ORG}/{USER}",
            }
        )


@contextmanager
def answering(org: HttpOrg) -> Iterator[HttpOrg]:
    """The server at `org.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            headers = {key.lower(): value for key, value in self.headers.items()}
            answer = org.reply(Asked(self.command, parts.path, parse_qs(parts.query), headers, body))
            payload = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            for key, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(payload.encode())))
            self.end_headers()
            self.wfile.write(payload.encode())

        do_GET = do_POST = do_PATCH = _do  # noqa: N815 - names of the base class

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    org.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield org
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
