"""Shows the OpenAPI text of the server on one page that asks no other address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from medclipsam import html

STYLE = "pre { overflow-x: auto } code { background: var(--card); padding: .1rem .3rem; overflow-wrap: anywhere }"


def page_of(openapi: Mapping[str, Any]) -> str:
    """Every route with its words and answers, then every object."""
    return "\n".join(_page(openapi))


def _page(openapi: Mapping[str, Any]) -> Iterator[str]:
    yield from html.begin("medclipsam server", STYLE)
    yield f"<h1>medclipsam server {escape(openapi['info']['version'])}</h1>"
    yield f'<p>{escape(openapi["info"]["description"])} For programs: <a href="/v1/openapi.json">openapi.json</a>.</p>'
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            yield from _route(method, path, route)
    yield from html.table("Objects", [("object", "field", "what it is"), *_fields(openapi)])
    yield from html.end()


def _route(method: str, path: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(route.get('summary', ''))}. {escape(route.get('description', ''))}</p>"
    told = [(each["name"], each["in"], _kind(each["schema"])) for each in route.get("parameters", ())]
    yield from html.table("", [("parameter", "where", "type"), *told] if told else [])
    answers = ", ".join(f"{status} {answer.get('description', '')}" for status, answer in route["responses"].items())
    yield f'<p class="faded">{escape(answers)}</p>'


def _fields(openapi: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, schema in openapi["components"]["schemas"].items():
        for field, kind in schema.get("properties", {}).items():
            yield name, field, f"{_kind(kind)} {kind.get('description', '')}".strip()


def _kind(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(json.dumps(each) for each in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))
