"""What users import, and what it costs them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pushgate

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_the_front_door_offers_exactly_this():
    """A change here is a change users see."""
    assert pushgate.__all__ == [
        "AsyncPushGateway",
        "ConfigurationError",
        "Counter",
        "EncodingError",
        "Enum",
        "GatewayStatus",
        "Gauge",
        "Group",
        "Histogram",
        "Info",
        "ListedGroup",
        "Payload",
        "PushAuthError",
        "PushConnectionError",
        "PushGateway",
        "PushHTTPError",
        "PushRedirectError",
        "PushRejectedError",
        "PushResult",
        "PushServerError",
        "PushTimeoutError",
        "PushgateError",
        "PushgatewayError",
        "Retry",
        "Summary",
        "Unit",
        "exponential_buckets",
        "linear_buckets",
    ]
    for name in pushgate.__all__:
        assert getattr(pushgate, name).__doc__
    assert set(pushgate.__all__) < set(dir(pushgate))
    with pytest.raises(AttributeError, match="no attribute 'PushGatway'"):
        pushgate.PushGatway  # noqa: B018  looking is the test


def test_the_base_install_needs_four_libraries():
    names = {re.match(r"[a-z0-9-]+", needed)[0] for needed in PROJECT["dependencies"]}
    assert names == {"prometheus-client", "h11", "httpx2", "click"}


@pytest.mark.parametrize("name", ["properties", "compat", "instruments", "errors"])
def test_submodules_need_no_import_of_their_own(name):
    assert python("-c", f"import pushgate; print(pushgate.{name}.__name__)").stdout.split() == [
        f"pushgate.{name}"
    ]


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60
    )


def loaded_by(program):
    program += "\nimport sys\nprint(*sys.modules)"
    return set(python("-c", program).stdout.split())


def test_importing_the_package_loads_nothing_else():
    assert "pushgate.client" not in loaded_by("import pushgate")


def test_importing_the_gateway_loads_no_library_before_it_is_needed():
    """It costs a job that pushes once more than the push."""
    imports = loaded_by("from pushgate import PushGateway, Histogram, Gauge")
    assert not imports & {
        "h11",
        "httpx2",
        "asyncio",
        "click",
        "google.protobuf",
        "logging",
        "pathlib",
    }
    assert "httpx2" not in loaded_by(
        "from pushgate import PushGateway, PushgatewayError\n"
        "try: PushGateway('localhost:1', job='j', retry=0).delete()\n"
        "except PushgatewayError: pass"
    )


def test_the_client_loads_nothing_of_the_server():
    program = (
        "import json, sys, pushgate, pushgate.compat, pushgate.cli.push, pushgate.cli.run\n"
        "[getattr(pushgate, name) for name in pushgate.__all__]\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(json.loads(python("-c", program).stdout))
    assert {"prometheus_client", "click"} <= loaded
    server = {"apsw", "bcrypt", "isal", "jinja2", "joserfc", "orjson", "google", "re2"}
    if "snappy" not in loaded:  # prometheus_client loads it, and it cramjam, wherever it is there
        server.add("cramjam")
    assert not loaded & (server | {"starlette", "uvicorn", "uvloop", "yaml", "httptools"})


def test_a_server_loads_no_library_for_what_is_seldom_needed_before_it_is():
    loaded = loaded_by(
        "import pushgate.server.run\n"
        "from pushgate.server.access.config import WebConfig\n"
        "from pushgate.server.access.auth import Access\n"
        "Access(WebConfig())"
    )
    assert "bcrypt" in loaded
    assert not loaded & {"joserfc", "cryptography", "jinja2", "re2"}


def test_the_package_says_where_it_runs_and_what_it_is_about():
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in PROJECT["classifiers"]
    assert PROJECT["requires-python"] == ">=3.11"
    assert "https://github.com/prometheus/pushgateway" in PROJECT["urls"].values()
