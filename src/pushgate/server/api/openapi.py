"""The OpenAPI description of every route but the web pages, at ``/api/v1/openapi.json``."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Scope

from pushgate.formats.negotiation import Format
from pushgate.model.family import MetricType
from pushgate.server.api.groups import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, SORTS
from pushgate.server.api.responses import CORS, JSON
from pushgate.server.http.context import AppContext
from pushgate.server.http.responses import Response
from pushgate.server.settings import Settings
from pushgate.version import __version__

_Node = dict[str, Any]

_ABOUT: Final = """The HTTP API of a Prometheus Pushgateway in Python. docs/http-api.md explains it, with examples.

HEAD returns the response to GET without its body. OPTIONS lists the methods of a path in Allow. An unknown path returns \
404, and a method that the path does not support 405. On every path, a request that violates HTTP itself gets 400, 408, \
414, 431, 501 or 505, and one over the limits of connections or open files 503.

Credentials and permissions are needed only if they are configured; without them, no request gets 401, and none gets 403 \
for lack of a permission. A write that a page of another site sends gets 403."""  # noqa: E501 - paragraphs

_PUSH: Final = """The body is in the text format of Prometheus, in OpenMetrics or in protobuf. The server responds with \
200 once the push is on disk and visible to the next scrape.

The path identifies the group by its labels: the job, then any number of pairs `/LABEL/VALUE`. OpenAPI cannot express "any \
number", so this description has one path without pairs and one with a single pair; more pairs follow in the same way. If \
a name ends in `@base64`, as in `job@base64`, its value is base64 with the URL-safe alphabet and optional padding. Values \
may be empty. `--push.enable-utf8-names` allows any label name."""  # noqa: E501 - paragraphs


def _text(**more: Any) -> _Node:
    return {"type": "string", **more}


def _object(**properties: _Node) -> _Node:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _array(items: _Node) -> _Node:
    return {"type": "array", "items": items}


def _or_null(schema: _Node) -> _Node:
    return {"oneOf": [schema, {"type": "null"}]}


def _schema(name: str) -> _Node:
    return {"$ref": f"#/components/schemas/{name}"}


_BOOLEAN: Final[_Node] = {"type": "boolean"}
_COUNT: Final[_Node] = {"type": "integer", "minimum": 0}
_TEXT: Final = _text()
_TEXTS: Final[_Node] = {"type": "object", "additionalProperties": _TEXT}
_TIME: Final = _text(format="date-time")
_TIME_OR_NEVER: Final = _or_null(_TIME)

_SCHEMAS: Final[_Node] = {
    "Group": _object(
        labels=_TEXTS,
        push_time=_TIME_OR_NEVER,
        failure_time=_TIME_OR_NEVER,
        expires_at=_TIME_OR_NEVER,
        expected_interval_seconds=_or_null({"type": "number"}),
        late=_BOOLEAN,
        last_push_successful=_BOOLEAN,
        last_failure=_or_null(_object(reason=_text(maxLength=1000), source=_TEXT)),
        series=_COUNT,
        families=_COUNT,
    ),
    "GroupWithMetrics": {
        **_object(labels=_TEXTS, last_push_successful=_BOOLEAN),
        "additionalProperties": _schema("Family"),
    },
    "Family": {
        **_object(
            time_stamp=_TIME,
            type=_text(enum=[kind.name for kind in MetricType]),
            metrics=_array(_schema("Metric")),
            help=_TEXT,
        ),
        "required": ["time_stamp", "type", "metrics"],
    },
    "Metric": {
        "description": "Numbers are strings.",
        **_object(
            labels=_TEXTS,
            value=_TEXT,
            count=_TEXT,
            sum=_TEXT,
            quantiles=_TEXTS,
            buckets={
                "description": "of a native histogram: boundaries, lower, upper, count",
                "oneOf": [
                    _TEXTS,
                    _array({"type": "array", "prefixItems": [_COUNT, _TEXT, _TEXT, _TEXT]}),
                ],
            },
        ),
        "required": ["labels"],
    },
    "Error": _object(status=_text(const="error"), errorType=_text(const="bad_data"), error=_TEXT),
}


def _parameter(place: str, name: str, about: str = "", schema: _Node = _TEXT) -> _Node:
    required = {"required": True} if place == "path" else {}
    return {"in": place, "name": name, "schema": schema, "description": about, **required}


_in_path: Final = partial(_parameter, "path")
_in_query: Final = partial(_parameter, "query")
_in_header: Final = partial(_parameter, "header")

_SELECTORS: Final = _in_query(
    "match[]",
    'Chooses groups: {job="backup",instance=~"db.*"}. Of several selectors, one must match.',
    _array(_text(format="selector", minLength=2)),
)
_FAILED: Final = _in_query(
    "failed", "Whether the last push failed. 1 and 0 are accepted, too.", _BOOLEAN
)
_OLDER_THAN: Final = _in_query(
    "older_than",
    "The last successful push was longer ago than this: 90s, 12h, 1h30m; at most 292 years.",
    _text(
        format="duration of Go",
        pattern=r"^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w))+)$",
        maxLength=100,
    ),
)
_OF_LIST: Final = (
    _in_query(
        "sort", "A leading - sorts in descending order.", _text(enum=[*SORTS], default="labels")
    ),
    _in_query(
        "limit",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _in_query("offset", schema=_COUNT | {"maximum": MAX_OFFSET, "default": 0}),
)
_DRY_RUN: Final = _in_query(
    "dry_run", "Only list what would be deleted.", _BOOLEAN | {"default": False}
)
_JOB: Final = _in_path("job", "Percent-encoded: %2F is a slash.", _text(minLength=1))
_PAIR: Final = (
    _in_path("label", schema=_text(pattern="^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$")),
    _in_path("value", "Percent-encoded: %2F is a slash."),
)
_OF_PUSH: Final = (
    _in_header(
        "Content-Encoding",
        "Names of character sets also mean no compression.",
        _text(enum=["gzip", "x-gzip", "snappy", "zstd", "deflate", "identity", "none", ""]),
    ),
    _in_header(
        "Idempotency-Key",
        "Where a rule adds pushes up, pushes with the same key count once.",
        _text(maxLength=255),
    ),
)
_ACCEPT: Final = _in_header("Accept", "The text format, or protobuf.")
_ACCEPT_ENCODING: Final = _in_header("Accept-Encoding", "gzip, zstd, identity")

_JSON: Final = "application/json"
_PLAIN: Final = "text/plain; charset=utf-8"
_PROTOBUF: Final = Format.PROTOBUF.value
_BODY: Final[_Node] = {
    "required": False,
    "content": {
        "text/plain": {"example": "# TYPE rows gauge\nrows 3140\n"},
        "application/openmetrics-text": {"example": "# TYPE rows gauge\nrows 3140\n# EOF\n"},
        _PROTOBUF: {},
    },
}

_CORS: Final = tuple(name.decode().title() for name, _ in CORS)
_HEADERS: Final[_Node] = {
    name: {"description": about, "schema": _TEXT}
    for name, about in {
        "Age": "By how many seconds this may be out of date while the shared database is"
        " unavailable.",
        "Content-Encoding": "How the body is compressed.",
        "Retry-After": "Seconds after which to try again.",
        "WWW-Authenticate": "The accepted kinds of credentials.",
    }.items()
} | {
    name: {"description": "For pages of other origins.", "required": True, "schema": _TEXT}
    for name in _CORS
}


def _answer(about: str, *headers: str, body: _Node | None = None) -> _Node:
    """Return the description of a response; *body* has its schema by media type."""
    return {
        "description": about,
        "content": {media: {"schema": schema} for media, schema in (body or {}).items()},
        "headers": {name: _HEADERS[name] for name in headers},
    }


def _plain(about: str, *headers: str) -> _Node:
    return _answer(about, *headers, body={_PLAIN: _TEXT})


def _json(about: str, data: _Node, *headers: str) -> _Node:
    """Return the description of a response that pages of other origins may read."""
    return _answer(about, *headers, *_CORS, body={_JSON: data})


_RESPONSES: Final[_Node] = {
    "400": _plain(
        "The path or the body is malformed, or the push is inconsistent with stored metrics."
    ),
    "401": _plain("The credentials are missing or wrong.", "WWW-Authenticate"),
    "403": _plain("The client lacks the permission, or a page of another site sent the request."),
    "404": _plain("The path leads nowhere."),
    "408": _plain("The head or the body took too long to arrive."),
    "413": _plain("The body, the number of its series or a label exceeds a limit."),
    "415": _plain("The Content-Encoding is not supported."),
    "429": _plain("Too many requests, groups or series.", "Retry-After"),
    "500": _plain("An error of the server; its log says more."),
    "503": _plain(
        "The journal or the database is unavailable, or too many requests are waiting.",
        "Retry-After",
    ),
}


def _refusals(*statuses: int) -> _Node:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _operation(
    name: str,
    about: str,
    permission: str,
    responses: _Node,
    parameters: Iterable[_Node] = (),
    *,
    description: str = "",
    **more: Any,
) -> _Node:
    needs = f"Permission: {permission}." if permission else "No permission is needed."
    security: _Node = {} if permission else {"security": []}
    return {
        "operationId": name,
        "summary": about,
        "description": f"{description}\n\n{needs}".strip(),
        "parameters": [*parameters],
        "responses": responses | _refusals(401, 403, 429, 500),
        **security,
        **more,
    }


def _group(*pair: _Node) -> _Node:
    """Return the operations of a group's path that ends in *pair*."""
    suffix = "OfPair" if pair else ""
    pushed = {
        "200": _answer("The push is durable and visible."),
        "202": _answer("The same with --push.disable-consistency-check."),
    } | _refusals(400, 408, 413, 415, 503)
    deleted = {"202": _answer("The group is gone.")} | _refusals(400, 408, 503)
    about_deletion = "Delete the group with exactly these labels"

    def push(name: str, about: str) -> _Node:
        return _operation(
            name + suffix, about, "push", pushed, _OF_PUSH, requestBody=_BODY, description=_PUSH
        )

    return {
        "parameters": [_JOB, *pair],
        "put": push("replaceGroup", "Replace all metrics of a group"),
        "post": push("replaceFamilies", "Replace the metric families that are pushed"),
        "patch": push("replaceSeries", "Replace the series that are pushed"),
        "delete": _operation("deleteGroup" + suffix, about_deletion, "delete", deleted),
    }


def _preflight(name: str, *refusals: int) -> _Node:
    answers = {"200": _answer("Pages of other origins may read.", *_CORS)}
    return _operation(name, "Answer a preflight request", "", answers | _refusals(*refusals))


def _health(name: str, about: str, *refusals: int) -> _Node:
    return _operation(name, about, "", {"200": _plain("Yes.")} | _refusals(*refusals))


def _read(name: str, about: str, data: _Node, *parameters: _Node, **refusals: _Node) -> _Node:
    responses = {"200": _json("The data.", data, "Age"), **refusals} | _refusals(503)
    return _operation(name, about, "read", responses, parameters)


def _success(data: _Node) -> _Node:
    return _object(status=_text(const="success"), data=data)


_GROUPS: Final = _array(_schema("Group"))
_BAD_PARAMETER: Final = {"400": _json("A parameter is invalid.", _schema("Error"))}
_SERVER: Final[_Node] = {
    "/-/healthy": {"get": _health("healthy", "Whether the process works", 500)},
    "/-/ready": {"get": _health("ready", "Whether a push would be accepted", 500, 503)},
    "/-/quit": {
        method: _operation(
            f"quitBy{method.title()}",
            "Stop the server; 403 without --web.enable-lifecycle",
            "admin",
            {"200": _plain("The server stops.")},
        )
        for method in ("put", "post")
    }
    | {
        "get": _operation(
            "explainQuit",
            "Explain that this needs PUT or POST; this route ignores the route prefix",
            "",
            {"405": _plain("Use PUT or POST.")},
        )
    },
}

_API: Final[_Node] = {
    "/api/v1/groups": {
        "get": _read(
            "listGroups",
            "A page of the groups, without their metrics",
            _success(_object(total=_COUNT, groups=_GROUPS)),
            *(_SELECTORS, _FAILED, _OLDER_THAN, *_OF_LIST),
            **_BAD_PARAMETER,
        ),
        "delete": _operation(
            "deleteGroups",
            "Delete the groups that match; requires a selector with a matcher, or older_than",
            "delete, for the job of each group",
            {
                "200": _json(
                    "The groups that were deleted, or would be.",
                    _success(_object(total=_COUNT, dry_run=_BOOLEAN, groups=_GROUPS)),
                ),
                **_BAD_PARAMETER,
            }
            | _refusals(503),
            (_SELECTORS, _FAILED, _OLDER_THAN, _DRY_RUN),
        ),
    },
    "/api/v1/metrics": {
        "get": _read(
            "allMetrics",
            "All groups with their metrics",
            _success(_array(_schema("GroupWithMetrics"))),
        )
    },
    "/api/v1/status": {
        "get": _read(
            "serverStatus",
            "Version, flags and time of the start",
            _success(_object(build_information=_TEXTS, flags=_TEXTS, start_time=_TIME)),
        )
    },
    "/api/v1/openapi.json": {"get": _read("description", "This description", {"type": "object"})},
    "/api/v1/admin/wipe": {
        "put": _operation(
            "wipe",
            "Delete all groups; 404 without --web.enable-admin-api",
            "admin",
            {"202": _answer("All groups are gone.")} | _refusals(404, 503),
        )
    },
}
for _path, _operations in _API.items():
    _operations["options"] = _preflight("preflight" + _path.title().replace("/", ""))
# What is not known below the API has a preflight answer all the same.
_API["/api/v1/{rest}"] = {
    "parameters": [_in_path("rest", schema=_text(pattern=r"^[^\n]+$"))],
    "options": _preflight("preflight", 404),
}

_SCRAPE: Final = _operation(
    "scrape",
    "What Prometheus scrapes: all groups and the server's own metrics, or selected groups",
    "scrape",
    {
        "200": _answer(
            "All metrics.",
            *("Content-Encoding", "Age"),
            body={Format.TEXT.value: _TEXT, _PROTOBUF: _text(format="binary")},
        )
    }
    | _refusals(400, 503),
    (_SELECTORS, _ACCEPT, _ACCEPT_ENCODING),
)


def description(settings: Settings) -> _Node:
    """Return the OpenAPI description of a server with *settings*."""
    prefix = settings.route_prefix
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pushgate",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{}, {"basic": []}, {"bearer": []}, {"certificate": []}],
        "paths": {
            "/metrics/job/{job}": _group(),
            "/metrics/job/{job}/{label}/{value}": _group(*_PAIR),
            settings.telemetry_path.removeprefix(prefix): {"get": _SCRAPE},
            **_API,
            **_SERVER,
        },
        "components": {
            "schemas": _SCHEMAS,
            "responses": _RESPONSES,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


async def describe(context: AppContext, _scope: Scope) -> ASGIApp:
    """Answer with the description of this server."""
    body = orjson.dumps(description(context.settings))
    return Response(200, body, JSON)
