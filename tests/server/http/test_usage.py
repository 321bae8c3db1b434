import shlex
import subprocess
from ipaddress import ip_network

import pytest

from pushgate.server.settings import Settings
from tests import services
from tests.exchange import TIMEOUT, ask
from tests.server.http.asgi import Response, Served

PUSHES = "DELETE, OPTIONS, PATCH, POST, PUT"


def opened(target: str, settings: Settings | None = None, host: str = "gw:9091") -> Response:
    """What a browser gets that opens *target*."""
    return Served(settings or Settings()).ask("GET", target, headers={"host": host})


def curl_lines(answer: Response) -> list[list[str]]:
    return [
        shlex.split(line.partition("curl")[2])
        for line in answer.text.splitlines()
        if "curl " in line
    ]


def test_the_path_of_a_group_says_in_a_browser_what_to_send_there():
    answer = opened("/metrics/job/backup/instance/a%20b?x=1")
    assert (answer.status, answer.headers["allow"]) == (405, PUSHES)
    assert answer.text.startswith("Method Not Allowed\n")
    url = "http://gw:9091/metrics/job/backup/instance/a%20b"
    assert curl_lines(answer) == [
        ["-X", "PUT", "--data-binary", "@-", url],
        ["-X", "POST", "--data-binary", "@-", url],
        ["-X", "PATCH", "--data-binary", "@-", url],
        ["-X", "DELETE", url],
    ]
    assert "Prometheus scrapes http://gw:9091/metrics." in answer.text


def test_behind_a_proxy_the_lines_name_the_external_url():
    settings = Settings(web_external_url="https://m.example/push", web_route_prefix="/in")
    answer = opened("/in/metrics/job/j", settings)
    assert curl_lines(answer)[3] == ["-X", "DELETE", "https://m.example/push/metrics/job/j"]
    assert "listed at https://m.example/push/." in answer.text


@pytest.mark.parametrize(
    ("trusted", "url"), [("127.0.0.1", "https://m.example"), ("10.0.0.1", "http://inner")]
)
def test_behind_a_trusted_proxy_the_lines_name_what_the_browser_asked_for(trusted, url):
    served = Served(Settings(web_trusted_proxies=(ip_network(trusted),)))
    said = {"host": "inner", "x-forwarded-host": "m.example", "x-forwarded-proto": "https"}
    answer = served.ask("GET", "/metrics/job/j", headers=said)
    assert curl_lines(answer)[3] == ["-X", "DELETE", f"{url}/metrics/job/j"]


@pytest.mark.parametrize("made_up", ["m" * 301, "m.example/<x>"])
def test_what_is_no_host_and_no_scheme_is_not_repeated(made_up):
    served = Served(Settings(web_trusted_proxies=(ip_network("127.0.0.1"),)))
    said = {"host": "inner", "x-forwarded-host": made_up, "x-forwarded-proto": made_up}
    answer = served.ask("GET", "/metrics/job/j", headers=said)
    assert curl_lines(answer)[3] == ["-X", "DELETE", "http://inner/metrics/job/j"]


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/metrics/job/$(reboot)'", "/metrics/job/$(reboot)'"),
        ("/metrics/job/\udcff", "/metrics/job/%FF"),
        ("/metrics/job/" + "x" * 2000, "/metrics/job/JOB"),
    ],
)
def test_any_path_is_one_argument_of_a_shell(target, shown):
    assert curl_lines(opened(target))[3] == ["-X", "DELETE", "http://gw:9091" + shown]


def test_the_lines_work_in_a_shell():
    curl = services.find_curl()
    with services.pushgate() as gateway:
        shown = ask(gateway.port, "GET", "/metrics/job/it's%20mine").text
        replace, add, merge, delete = [line for line in shown.splitlines() if "curl " in line]
        for line, lines in ((replace, 1), (add, 1), (merge, 1), (delete, 0)):
            command = line.replace("curl", f"{curl} --silent --show-error --fail")
            subprocess.run(["sh", "-c", command], check=True, timeout=TIMEOUT)
            assert gateway.get("/metrics").count('job="it\'s mine"} 3.14\n') == lines
