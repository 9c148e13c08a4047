"""The partner's page at /app/: files as they are, from memory, with headers that let them run and nothing else."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from web.errors import NotFound

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
    "svg": "image/svg+xml",
    "png": "image/png",
}
WORKER = "sw.js"
#: Everything from this origin alone; nothing written inside a page runs, and no text becomes markup.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types fairturn"
)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the page, as it is sent."""

    body: bytes
    media_type: str
    etag: str


def routes() -> APIRouter:
    """The page's files, read once; the worker is told their names and the version they make together."""
    router = APIRouter(include_in_schema=False)
    held = dict(read(files("web") / "app"))
    held[WORKER] = worker(held)

    @router.get("")
    def home() -> Response:
        return RedirectResponse("/app/", 308)

    @router.get("/{name:path}")
    def file(name: str, request: Request) -> Response:
        found = held.get(name or "index.html")
        if found is None:
            raise NotFound("There is no such file; the page is at /app/.")
        headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.body, media_type=found.media_type, headers=headers)

    return router


def read(folder: Traversable, under: str = "") -> Iterator[tuple[str, File]]:
    """Every file of a folder that a browser can use, by its path."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = under + entry.name
        if entry.is_dir():
            yield from read(entry, f"{name}/")
        elif (kind := TYPES.get(name.rpartition(".")[2])) is not None:
            yield name, _file(entry.read_bytes(), kind)


def worker(held: Mapping[str, File]) -> File:
    """The service worker, which keeps all the others: it changes when one of them does."""
    shell = sorted(name for name in held if name not in {WORKER, "index.html"})
    version = sha256("".join(held[name].etag for name in sorted(held)).encode()).hexdigest()[:16]
    told = json.dumps({"version": version, "files": shell})
    return _file(f"const SHELL = {told};\n".encode() + held[WORKER].body, TYPES["js"])


def _file(body: bytes, media_type: str) -> File:
    digest = b64encode(sha256(body).digest()[:18], b"-_").decode()
    return File(body, media_type, f'"{digest}"')
