"""What users import, and what it costs them."""

import json
import pickle
import re
import subprocess
import sys
from importlib import metadata

import pytest

import pushgate
from pushgate import errors

# In microseconds, on a machine that has other things to do as well.
IMPORT_BUDGET = 150_000


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


def test_the_base_install_needs_three_libraries():
    needed = [r for r in metadata.requires("pushgate") if "extra ==" not in r]
    names = {re.match(r"[a-z0-9-]+", requirement)[0] for requirement in needed}
    assert names == {"prometheus-client", "httpx2", "click"}


@pytest.mark.parametrize("name", ["properties", "compat", "metrics", "errors"])
def test_submodules_need_no_import_of_their_own(name):
    assert python("-c", f"import pushgate; print(pushgate.{name}.__name__)").stdout.split() == [
        f"pushgate.{name}"
    ]


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60
    )


def test_importing_costs_little_and_loads_nothing():
    lines = python("-X", "importtime", "-c", "import pushgate").stderr.splitlines()
    assert int(lines[-1].split("|")[1]) < IMPORT_BUDGET
    assert not any("httpx2" in line for line in lines)


def test_the_client_loads_nothing_of_the_server():
    program = (
        "import json, sys, pushgate, pushgate.compat, pushgate.cli.commands, pushgate.cli.run\n"
        "[getattr(pushgate, name) for name in pushgate.__all__]\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(json.loads(python("-c", program).stdout))
    assert {"httpx2", "prometheus_client", "click"} <= loaded
    server = {"apsw", "bcrypt", "isal", "jinja2", "joserfc", "orjson", "google"}
    if "snappy" not in loaded:  # prometheus_client loads it, and it cramjam, wherever it is there
        server.add("cramjam")
    assert not loaded & (server | {"starlette", "uvicorn", "uvloop", "yaml", "httptools"})


def test_client_errors_are_what_existing_programs_catch():
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.EncodingError, ValueError)
    assert issubclass(errors.PushConnectionError, ConnectionError)
    assert issubclass(errors.PushTimeoutError, TimeoutError)
    assert issubclass(errors.PushHTTPError, OSError)
    assert issubclass(errors.PushgatewayError, errors.PushgateError)


def test_errors_survive_pickling():
    error = errors.PushRejectedError("no")
    error.status, error.hint = 400, "why not"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status) == ("no (why not)", 400)


def test_the_package_says_where_it_runs_and_what_it_is_about():
    package = metadata.metadata("pushgate")
    classifiers = package.get_all("Classifier")
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert package["Requires-Python"] == ">=3.11"
    assert any("github.com/prometheus/pushgateway" in url for url in package.get_all("Project-URL"))
