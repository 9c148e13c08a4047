"""Which path leads where."""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.errors import ApiError
from sandbox.org import Org
from sandbox.pubsub import PubSub
from sandbox.rest import about, admin, batches, oauth, queries, rows, soap
from sandbox.rest.call import answer_error

_DATA = "/services/data/v{version}.0"
_ROW = f"{_DATA}/sobjects/{{object}}/{{id}}"
_KEY = f"{_DATA}/sobjects/{{object}}/{{key}}/{{value:path}}"
_COLLECTION = f"{_DATA}/composite/sobjects"

ROUTES = [
    Route("/services/oauth2/token", oauth.token, methods=["POST"]),
    Route("/services/oauth2/revoke", oauth.revoke, methods=["GET", "POST"]),
    Route("/services/oauth2/userinfo", oauth.userinfo),
    Route("/id/{org_id}/{user_id}", oauth.userinfo),
    Route("/services/Soap/{wsdl}/{version:int}.0", soap.serve, methods=["POST"]),
    Route("/services/Soap/{wsdl}/{version:int}.0/{org_id}", soap.serve, methods=["POST"]),
    Route("/services/data", about.versions),
    Route(_DATA, about.resources),
    Route(f"{_DATA}/limits", about.limits),
    Route(f"{_DATA}/sobjects", about.objects),
    Route(f"{_DATA}/query", queries.query),
    Route(f"{_DATA}/queryAll", queries.query_all),
    Route(f"{_DATA}/tooling/query", about.tooling),
    Route(f"{_DATA}/query/{{locator}}", queries.more),
    Route(f"{_DATA}/queryAll/{{locator}}", queries.more),
    Route(_COLLECTION, batches.create, methods=["POST"]),
    Route(_COLLECTION, batches.update, methods=["PATCH"]),
    Route(_COLLECTION, batches.delete, methods=["DELETE"]),
    Route(f"{_COLLECTION}/{{object}}", batches.fetch, methods=["POST"]),
    Route(f"{_COLLECTION}/{{object}}/{{key}}", batches.upsert, methods=["PATCH"]),
    Route(f"{_DATA}/sobjects/{{object}}", rows.create, methods=["POST"]),
    Route(f"{_DATA}/sobjects/{{object}}", about.basics),
    Route(f"{_DATA}/sobjects/{{object}}/describe", about.describe),
    Route(f"{_DATA}/sobjects/{{object}}/updated", queries.updated),
    Route(f"{_DATA}/sobjects/{{object}}/deleted", queries.deleted),
    Route(_ROW, rows.read),
    Route(_ROW, rows.update, methods=["PATCH"]),
    Route(_ROW, rows.delete, methods=["DELETE"]),
    Route(_KEY, rows.read_by_key),
    Route(_KEY, rows.upsert, methods=["PATCH"]),
    Route("/sandbox/clock", admin.read_clock),
    Route("/sandbox/clock", admin.set_clock, methods=["POST"]),
    Route("/sandbox/faults", admin.list_faults),
    Route("/sandbox/faults", admin.add_fault, methods=["POST"]),
    Route("/sandbox/faults", admin.clear_faults, methods=["DELETE"]),
    Route("/sandbox/hurry", admin.hurry, methods=["POST"]),
    Route("/sandbox/gap", admin.gap, methods=["POST"]),
    Route("/sandbox/overflow", admin.overflow, methods=["POST"]),
    Route("/sandbox/merged", admin.merged, methods=["POST"]),
    Route("/sandbox/convert", admin.converted, methods=["POST"]),
    Route("/sandbox/absorb", admin.absorbed, methods=["POST"]),
    Route("/sandbox/undelete", admin.undeleted, methods=["POST"]),
    Route("/sandbox/purge", admin.purged, methods=["POST"]),
    Route("/sandbox/records", admin.records),
    Route("/sandbox/geocode", admin.geocoded, methods=["POST"]),
    Route("/sandbox/select", admin.select, methods=["POST"]),
    Route("/sandbox/cut", admin.cut, methods=["POST"]),
    Route("/sandbox/reset", admin.reset, methods=["POST"]),
    Route("/sandbox/redeliver", admin.redeliver, methods=["POST"]),
    Route("/sandbox/fields", admin.fields, methods=["POST"]),
    Route("/sandbox/options", admin.options, methods=["POST"]),
    Route("/sandbox/revoke", admin.revoke, methods=["POST"]),
    Route("/sandbox/state", admin.state),
    Route("/sandbox/history", admin.history),
]


class Doorman:
    """Answers under `/.salesforce.com` too (a client's domain trick), and with or without a slash at the end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix("/.salesforce.com").rstrip("/") or "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(scope, receive, send)


async def _unknown(_request: Request, error: Exception) -> Response:
    """No such path, or no such method there."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return answer_error(ApiError(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed."))
    return answer_error(ApiError(status, "NOT_FOUND", "The requested resource does not exist"))


async def _broken(_request: Request, error: Exception) -> Response:
    """A fault of the sandbox itself: told in Salesforce's form, and logged by the server."""
    return answer_error(ApiError(500, "UNKNOWN_EXCEPTION", f"An unexpected error occurred: {error!r:.200}"))


def build_app(org: Org, service: PubSub, https_port: int) -> Doorman:
    app = Starlette(routes=ROUTES, exception_handlers={HTTPException: _unknown, Exception: _broken})
    app.state.org = org
    app.state.service = service
    app.state.https_port = https_port
    return Doorman(app)
