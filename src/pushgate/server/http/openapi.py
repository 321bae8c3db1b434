"""The OpenAPI description of every route, at ``/api/v1/openapi.json``."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Scope

from pushgate.server.http.context import AppContext
from pushgate.server.http.groups_api import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, SORTS
from pushgate.server.http.json_api import JSON
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


def _success(data: _Node) -> _Node:
    return _object(status=_text(const="success"), data=data)


def _schema(name: str) -> _Node:
    return {"$ref": f"#/components/schemas/{name}"}


_COUNT: Final[_Node] = {"type": "integer", "minimum": 0}
_LABELS: Final[_Node] = {"type": "object", "additionalProperties": _text()}
_TIME: Final[_Node] = _or_null(_text(format="date-time"))

_SCHEMAS: Final[_Node] = {
    "Group": _object(
        labels=_LABELS,
        push_time=_TIME,
        failure_time=_TIME,
        expires_at=_TIME,
        expected_interval_seconds=_or_null({"type": "number"}),
        late={"type": "boolean"},
        last_push_successful={"type": "boolean"},
        last_failure=_or_null(_object(reason=_text(maxLength=1000), source=_text())),
        series=_COUNT,
        families=_COUNT,
    ),
    "GroupWithMetrics": {
        **_object(labels=_LABELS, last_push_successful={"type": "boolean"}),
        "additionalProperties": _schema("Family"),
    },
    "Family": {
        "type": "object",
        "properties": {
            "time_stamp": _text(format="date-time"),
            "type": _text(
                enum=["COUNTER", "GAUGE", "UNTYPED", "SUMMARY", "HISTOGRAM", "GAUGE_HISTOGRAM"]
            ),
            "help": _text(),
            "metrics": _array(_schema("Metric")),
        },
        "required": ["time_stamp", "type", "metrics"],
    },
    "Metric": {
        "description": "Numbers are strings.",
        "type": "object",
        "properties": {
            "labels": _LABELS,
            "value": _text(),
            "count": _text(),
            "sum": _text(),
            "quantiles": {"type": "object", "additionalProperties": _text()},
            "buckets": {
                "description": "of a native histogram: boundaries, lower, upper, count",
                "oneOf": [
                    {"type": "object", "additionalProperties": _text()},
                    _array({"type": "array", "prefixItems": [_COUNT, _text(), _text(), _text()]}),
                ],
            },
        },
        "required": ["labels"],
    },
    "Error": _object(status=_text(const="error"), errorType=_text(const="bad_data"), error=_text()),
}


def _parameter(place: str, name: str, schema: _Node, about: str = "") -> _Node:
    required = {"required": True} if place == "path" else {}
    return {"in": place, "name": name, "schema": schema, "description": about, **required}


_SELECTORS: Final = _parameter(
    "query",
    "match[]",
    _array(_text(format="selector", minLength=2)),
    'Chooses groups: {job="backup",instance=~"db.*"}. Of several selectors, one must match.',
)
_FAILED: Final = _parameter(
    "query",
    "failed",
    {"type": "boolean"},
    "Whether the last push failed. 1 and 0 are accepted, too.",
)
_DURATION: Final = _text(
    format="duration of Go",
    pattern=r"^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w))+)$",
    maxLength=100,
)
_OLDER_THAN: Final = _parameter(
    "query",
    "older_than",
    _DURATION,
    "The last successful push was longer ago than this: 90s, 12h, 1h30m; at most 292 years.",
)
_SORT: Final = _parameter(
    "query",
    "sort",
    _text(enum=[*SORTS], default="labels"),
    "A leading - sorts in descending order.",
)
_LIMIT: Final = _parameter(
    "query",
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
_OFFSET: Final = _parameter(
    "query", "offset", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
)
_DRY_RUN: Final = _parameter(
    "query", "dry_run", {"type": "boolean", "default": False}, "Only list what would be deleted."
)
_JOB: Final = _parameter("path", "job", _text(minLength=1), "Percent-encoded: %2F is a slash.")
_PAIR: Final = (
    _parameter("path", "label", _text(pattern="^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$")),
    _parameter("path", "value", _text(), "Percent-encoded: %2F is a slash."),
)
_ENCODINGS: Final = ("gzip", "x-gzip", "snappy", "zstd", "deflate", "identity", "none", "")
_OF_PUSH: Final = (
    _parameter(
        "header",
        "Content-Encoding",
        _text(enum=[*_ENCODINGS]),
        "Names of character sets also mean no compression.",
    ),
    _parameter(
        "header",
        "Idempotency-Key",
        _text(maxLength=255),
        "Where a rule adds pushes up, pushes with the same key count once.",
    ),
)
_OF_PAGES: Final = (
    _parameter("query", "q", _text(), "A selector, or words in labels or names of metrics."),
    _parameter("query", "state", _text(), "ok, late, failed or expired."),
    _parameter("query", "older_than", _text(), "An age, such as 1d."),
    _parameter(
        "query",
        "sort",
        _text(),
        "job, pushed, series or state; a leading - sorts in descending order.",
    ),
    _parameter("query", "page", _text(), "From 1."),
)
_ACCEPT_ENCODING: Final = _parameter("header", "Accept-Encoding", _text(), "gzip, zstd, identity")
_OF_SCRAPE: Final = (
    _parameter("header", "Accept", _text(), "The text format, or protobuf."),
    _ACCEPT_ENCODING,
)
_IF_NONE_MATCH: Final = _parameter("header", "If-None-Match", _text(), "The ETag of a page.")
_PLAIN: Final = "text/plain; charset=utf-8"
_PROTOBUF: Final = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
_BODY: Final[_Node] = {
    "required": False,
    "content": {
        "text/plain": {"example": "# TYPE rows gauge\nrows 3140\n"},
        "application/openmetrics-text": {"example": "# TYPE rows gauge\nrows 3140\n# EOF\n"},
        _PROTOBUF: {},
    },
}

_HEADERS: Final[_Node] = {
    "Age": "By how many seconds this may be out of date while the shared database is unavailable.",
    "Content-Encoding": "How the body is compressed.",
    "ETag": "The version of the page.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "The accepted kinds of credentials.",
}


def _answer(about: str, media: str = "", schema: _Node | None = None, *headers: str) -> _Node:
    """Return the description of a response; without *media* it has no body."""
    content = {media: {"schema": schema or _text()}} if media else {}
    named = {name: {"description": _HEADERS[name], "schema": _text()} for name in headers}
    return {"description": about, "content": content, "headers": named}


_RESPONSES: Final[_Node] = {
    "400": _answer(
        "The path or the body is malformed, or the push is inconsistent with stored metrics.",
        _PLAIN,
    ),
    "401": _answer("The credentials are missing or wrong.", _PLAIN, None, "WWW-Authenticate"),
    "403": _answer(
        "The client lacks the permission, or a page of another site sent the request.", _PLAIN
    ),
    "404": _answer("The path leads nowhere.", _PLAIN),
    "408": _answer("The head or the body took too long to arrive.", _PLAIN),
    "413": _answer("The body, the number of its series or a label exceeds a limit.", _PLAIN),
    "415": _answer("The Content-Encoding is not supported.", _PLAIN),
    "429": _answer("Too many requests, groups or series.", _PLAIN, None, "Retry-After"),
    "500": _answer("An error of the server; its log says more.", _PLAIN),
    "503": _answer(
        "The journal or the database is unavailable, or too many requests are waiting.",
        _PLAIN,
        None,
        "Retry-After",
    ),
}


def _refusals(*statuses: int) -> _Node:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _operation(
    name: str,
    about: str,
    permission: str,
    parameters: Iterable[_Node] = (),
    responses: _Node | None = None,
    **more: Any,
) -> _Node:
    needs = f"Permission: {permission}." if permission else "No permission is needed."
    described = f"{more.pop('description', '')}\n\n{needs}".strip()
    security: _Node = {} if permission else {"security": []}
    return {
        "operationId": name,
        "summary": about,
        "description": described,
        "parameters": [*parameters],
        "responses": {**(responses or {}), **_refusals(401, 403, 429, 500)},
        **security,
        **more,
    }


def _group(pair: tuple[_Node, ...]) -> _Node:
    """Return the operations of a group's path that ends in *pair*."""
    suffix = "OfPair" if pair else ""
    done = {"200": _answer("The push is durable and visible.")} | {
        "202": _answer("The same with --push.disable-consistency-check.")
    }
    pushed = done | _refusals(400, 408, 413, 415, 503)

    def push(name: str, about: str) -> _Node:
        return _operation(
            name + suffix, about, "push", _OF_PUSH, pushed, requestBody=_BODY, description=_PUSH
        )

    return {
        "parameters": [_JOB, *pair],
        "put": push("replaceGroup", "Replace all metrics of a group"),
        "post": push("replaceFamilies", "Replace the metric families that are pushed"),
        "patch": push("replaceSeries", "Replace the series that are pushed"),
        "delete": _operation(
            "deleteGroup" + suffix,
            "Delete the group with exactly these labels",
            "delete",
            responses={"202": _answer("The group is gone.")} | _refusals(400, 408, 503),
        ),
    }


_CORS: Final[_Node] = {
    name: {"description": "For pages of other origins.", "required": True, "schema": _text()}
    for name in (
        "Access-Control-Allow-Headers",
        "Access-Control-Allow-Methods",
        "Access-Control-Allow-Origin",
        "Access-Control-Expose-Headers",
        "Cache-Control",
    )
}


def _preflight(name: str) -> _Node:
    answers = {"200": _answer("Pages of other origins may read.") | {"headers": _CORS}}
    return _operation(name, "Answer a preflight request", "", responses=answers)


def _read(
    name: str, about: str, schema: _Node, *parameters: _Node, refusals: _Node | None = None
) -> _Node:
    answer = _answer("The data.", "application/json", schema, "Age")
    responses = {"200": answer} | (refusals or {}) | _refusals(503)
    return _operation(name, about, "read", parameters, responses)


def _page(name: str, about: str, *parameters: _Node) -> _Node:
    html = _answer("The page.", "text/html; charset=utf-8", None, "ETag", "Content-Encoding", "Age")
    unchanged = {"304": _answer("The page has not changed since this ETag.", "", None, "ETag")}
    given = (*parameters, _IF_NONE_MATCH, _ACCEPT_ENCODING)
    return _operation(name, about, "read", given, {"200": html} | unchanged | _refusals(503))


def _health(name: str, about: str, *statuses: int) -> _Node:
    responses = {"200": _answer("Yes.", _PLAIN)} | _refusals(*statuses)
    return _operation(name, about, "", responses=responses)


_BAD_PARAMETER: Final = {
    "400": _answer("A parameter is invalid.", "application/json", _schema("Error"))
}
_PAGE_OF_GROUPS: Final = _object(total=_COUNT, groups=_array(_schema("Group")))
_DELETED: Final = _object(
    total=_COUNT, dry_run={"type": "boolean"}, groups=_array(_schema("Group"))
)
_STATUS: Final = _object(
    build_information={"type": "object", "additionalProperties": _text()},
    flags={"type": "object", "additionalProperties": _text()},
    start_time=_text(format="date-time"),
)
_PAGES: Final[_Node] = {
    "/": {"get": _page("groupsPage", "The page of the groups, 50 at a time", *_OF_PAGES)},
    "/status": {"get": _page("statusPage", "The page of the server: storage, limits, flags")},
    "/rules": {"get": _page("rulesPage", "The page of the rules, and the groups of each")},
    "/help": {"get": _page("helpPage", "The page that says how to push and scrape")},
    "/ui/groups": {
        "get": _read(
            "deletableGroups",
            "The groups that the page would delete",
            _object(groups=_array(_object(name=_text(), path=_text()))),
            *_OF_PAGES,
        )
    },
    "/ui/group/{id}": {
        "parameters": [_parameter("path", "id", _text(minLength=1), "As the page links to it.")],
        "get": _page(
            "groupPage",
            "The page of one group",
            _parameter(
                "query", "all", _text(), "If present, all metrics, not only 500 of each family."
            ),
        ),
    },
    "/static/{name}": {
        "parameters": [_parameter("path", "name", _text(minLength=1, examples=["style.css"]))],
        "get": _operation(
            "staticFile",
            "A file of the page: style sheet, script or icon",
            "",
            (_IF_NONE_MATCH,),
            {
                "200": _answer("The file.", "*/*", None, "ETag"),
                "206": _answer("The requested range.", "*/*", None, "ETag"),
                "304": _answer("The file has not changed since this ETag.", "", None, "ETag"),
                "400": _answer("The range is malformed.", "*/*"),
                "416": _answer("The file does not have that range.", "*/*"),
            }
            | _refusals(404),
        ),
    },
}
_PAGES["/ui/group/{id}"]["get"]["responses"] |= {
    "404": {
        "description": "There is no such group.",
        "content": {_PLAIN: {"schema": _text()}, "text/html; charset=utf-8": {"schema": _text()}},
    }
}

_SERVER: Final[_Node] = {
    "/-/healthy": {"get": _health("healthy", "Whether the process works", 500)},
    "/-/ready": {"get": _health("ready", "Whether a push would be accepted", 500, 503)},
    "/-/quit": {
        method: _operation(
            f"quitBy{method.title()}",
            "Stop the server; 403 without --web.enable-lifecycle",
            "admin",
            responses={"200": _answer("The server stops.", _PLAIN)},
        )
        for method in ("put", "post")
    }
    | {
        "get": _operation(
            "explainQuit",
            "Explain that this needs PUT or POST; this route ignores the route prefix",
            "",
            responses={"405": _answer("Use PUT or POST.", _PLAIN)},
        )
    },
}

_API: Final[_Node] = {
    "/api/v1/groups": {
        "get": _read(
            "listGroups",
            "A page of the groups, without their metrics",
            _success(_PAGE_OF_GROUPS),
            *(_SELECTORS, _FAILED, _OLDER_THAN, _SORT, _LIMIT, _OFFSET),
            refusals=_BAD_PARAMETER,
        ),
        "delete": _operation(
            "deleteGroups",
            "Delete the groups that match; requires a selector with a matcher, or older_than",
            "delete, for the job of each group",
            (_SELECTORS, _FAILED, _OLDER_THAN, _DRY_RUN),
            {
                "200": _answer(
                    "The groups that were deleted, or would be.",
                    "application/json",
                    _success(_DELETED),
                )
            }
            | _BAD_PARAMETER
            | _refusals(503),
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
        "get": _read("serverStatus", "Version, flags and time of the start", _success(_STATUS))
    },
    "/api/v1/openapi.json": {"get": _read("description", "This description", {"type": "object"})},
    "/api/v1/admin/wipe": {
        "put": _operation(
            "wipe",
            "Delete all groups; 404 without --web.enable-admin-api",
            "admin",
            responses={"202": _answer("All groups are gone.")} | _refusals(404, 503),
        )
    },
}
for _path, _operations in _API.items():
    for _described in _operations.values():
        for _response in _described["responses"].values():
            if "application/json" in _response.get("content", ()):
                _response["headers"] |= _CORS
    _operations["options"] = _preflight("preflight" + _path.title().replace("/", ""))
# What is not known below the API has a preflight answer all the same.
_ANY_PREFLIGHT: Final = _preflight("preflight")
_ANY_PREFLIGHT["responses"] |= _refusals(404)
_API["/api/v1/{rest}"] = {
    "parameters": [_parameter("path", "rest", _text(pattern=r"^[^\n]+$"))],
    "options": _ANY_PREFLIGHT,
}


def _scrape() -> _Node:
    text = {"schema": _text()}
    answer = _answer("All metrics.", _PLAIN, None, "Content-Encoding", "Age")
    media = "text/plain; version=0.0.4; charset=utf-8"
    binary = {"schema": _text(format="binary")}
    answer["content"] = {media: text, _PROTOBUF: binary}
    return _operation(
        "scrape",
        "What Prometheus scrapes: all groups and the server's own metrics, or selected groups",
        "scrape",
        (_SELECTORS, *_OF_SCRAPE),
        {"200": answer} | _refusals(400, 503),
    )


def description(settings: Settings) -> _Node:
    """Return the OpenAPI description of a server with *settings*."""
    prefix = settings.route_prefix
    groups = {
        "/metrics/job/{job}": _group(()),
        "/metrics/job/{job}/{label}/{value}": _group(_PAIR),
    }
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
            **groups,
            settings.telemetry_path.removeprefix(prefix): {"get": _scrape()},
            **_API,
            **_SERVER,
            **_PAGES,
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


async def described(context: AppContext, _scope: Scope) -> ASGIApp:
    """Answer with the description of this server."""
    body = orjson.dumps(description(context.settings))
    return Response(200, body, JSON)
