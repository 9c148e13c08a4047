"""The API's own page: every operation of the OpenAPI document in plain HTML; no script, nothing from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, Response

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8886; padding: .5rem 0 1rem; }
h2 { font-size: 1.1rem; margin: .8rem 0 .2rem; }
code { font: .95em ui-monospace, monospace; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8883; }
"""


def routes(app: FastAPI) -> APIRouter:
    """The page and its style sheet."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def page() -> HTMLResponse:
        return HTMLResponse(render(app.openapi(), app.openapi_url or ""))

    @router.get("/docs.css")
    def style() -> Response:
        return Response(STYLE, media_type="text/css")

    return router


def render(document: Mapping[str, Any], address: str) -> str:
    """The OpenAPI document as a page."""
    info = document["info"]
    schemas = document.get("components", {}).get("schemas", {})
    body = "\n".join(
        _operation(path, method, operation, schemas)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}: API</title>
<link rel="stylesheet" href="docs.css"></head>
<body><h1>{title}</h1>
<p>{escape(info.get("summary", ""))}</p>
<p>OpenAPI {escape(document["openapi"])}: <a href="{escape(address)}">{escape(address)}</a>. Operators send
<code>Authorization: Bearer</code> with the value of <code>FAIRTURN_API_TOKEN</code>; while it is not set, callers on
the same machine are let in. Errors are problems by RFC 9457.</p>
{body}
</body></html>
"""


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [
        f'<section id="{escape(operation["operationId"])}">',
        f'<h2><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code></h2>',
        f"<p><strong>{escape(operation.get('summary', ''))}.</strong> {escape(operation.get('description', ''))}</p>",
        *_parameters(operation.get("parameters", [])),
        *_responses(operation.get("responses", {}), schemas),
        "</section>",
    ]
    return "\n".join(parts)


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield "<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>"
    for one in parameters:
        yield (
            f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
            f"<td>{escape(one.get('description', ''))}</td></tr>"
        )
    yield "</table>"


def _responses(responses: Mapping[str, Mapping[str, Any]], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield "<table><tr><th>Answer</th><th>Meaning</th><th>Fields</th></tr>"
    for status, answer in responses.items():
        fields = ", ".join(f"<code>{escape(name)}</code>" for name in _fields(answer, schemas))
        yield f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description', ''))}</td><td>{fields}</td></tr>"
    yield "</table>"


def _fields(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    for media in answer.get("content", {}).values():
        reference = media.get("schema", {}).get("$ref", "")
        if reference:
            return list(schemas.get(reference.rsplit("/", maxsplit=1)[-1], {}).get("properties", {}))
    return []
