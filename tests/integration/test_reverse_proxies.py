"""The page behind real reverse proxies, configured as docs/reverse-proxy.md says."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import pages, services
from tests.exchange import ask

NGINX, NGINX_FORWARDED, NGINX_PREFIX = pages.blocks("reverse-proxy", "nginx")
HAPROXY, HAPROXY_FORWARDED = pages.blocks("reverse-proxy", "haproxy")
[CADDY] = pages.blocks("reverse-proxy", "caddyfile")
# The same, but Host is replaced; and what was asked for said in other headers.
NGINX_REPLACED = re.sub(r" *proxy_set_header Host .*\n", "", NGINX)
HAPROXY_REPLACED = HAPROXY.replace(
    "default_backend", "http-request set-header Host inner\n    default_backend"
)
CADDY_REPLACED = CADDY.replace("9091\n", "9091 {\n        header_up Host inner\n    }\n")
CONFIGURED = {"nginx": NGINX, "haproxy": HAPROXY, "caddy": CADDY}
REPLACED = {"nginx": NGINX_REPLACED, "haproxy": HAPROXY_REPLACED, "caddy": CADDY_REPLACED}
FORWARDED = {
    "nginx": NGINX_REPLACED.replace("proxy_http_version", f"{NGINX_FORWARDED}proxy_http_version"),
    "haproxy": HAPROXY_REPLACED.replace("    bind :8080\n", f"    bind :8080\n{HAPROXY_FORWARDED}"),
    "caddy": CADDY_REPLACED,
}
TITLES = {"nginx": "nginx", "haproxy": "HAProxy", "caddy": "Caddy"}

WHOLE_FILE = {
    "nginx": """
        daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}
        http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
        fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
        {example} }}""",
    "haproxy": "{example}",
    "caddy": "{{\n admin off\n auto_https off\n}}\n{example}",
}
START = {
    "nginx": "nginx -e stderr -c {file}",
    "haproxy": "haproxy -db -f {file}",
    "caddy": "caddy run --adapter caddyfile --config {file}",
}


@pytest.fixture(scope="module")
def external() -> Iterator[services.Service]:
    with services.pushgate("--web.external-url=https://metrics.example/") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def trusting() -> Iterator[services.Service]:
    with services.pushgate("--web.trusted-proxies=127.0.0.1,10.0.0.0/8") as gateway:
        yield gateway


@contextmanager
def proxy(kind: str, example: str, backend: services.Service, folder: Path) -> Iterator[int]:
    """A proxy of *kind* before *backend*, as in *example*; yields its port."""
    program = services.found(f"PUSHGATE_TEST_{kind.upper()}", kind, TITLES[kind])
    example = example.replace(":9091", f":{backend.port}")
    template, file = folder / "template", folder / "config"
    template.write_text(WHOLE_FILE[kind].format(example=example, folder=folder))
    start = START[kind].format(file=file).replace(kind, program, 1)
    # The port is only known to the command that is started.
    script = f"sed s/8080/$1/ {template} > {file}; cd {folder}; HOME={folder} exec {start}"
    with services.running(["sh", "-c", script, "proxy", "{port}"]) as service:
        yield service.port


def deleted(port: int, origin: str = "http://metrics.example:{port}", path: str = "") -> int:
    """The status that a page of *origin* gets that deletes a group."""
    headers = {"Host": f"metrics.example:{port}", "Origin": origin.format(port=port)}
    return ask(port, "DELETE", f"{path}/metrics/job/j", headers=headers).status


@pytest.mark.parametrize("kind", CONFIGURED)
def test_as_documented_the_page_may_delete_and_other_pages_may_not(kind, gateway, tmp_path):
    with proxy(kind, CONFIGURED[kind], gateway, tmp_path) as port:
        assert deleted(port) == 202
        assert deleted(port, "http://evil.example") == 403


@pytest.mark.parametrize("kind", CONFIGURED)
def test_as_documented_paths_and_large_pushes_come_through(kind, gateway, tmp_path):
    with proxy(kind, CONFIGURED[kind], gateway, tmp_path) as port:
        headers = {"Host": f"metrics.example:{port}"}
        body = b"".join(b'm{i="%d"} 1\n' % i for i in range(90_000))
        assert len(body) > 1 << 20
        target = "/metrics/job/a%2Fb/empty//x/%C3%A4"
        assert ask(port, "PUT", target, body, headers).status == 200
        line = 'm{empty="",i="89999",instance="",job="a/b",x="ä"} 1\n'
        assert line in ask(port, "GET", "/metrics", headers=headers).text


@pytest.mark.parametrize("kind", REPLACED)
def test_a_replaced_host_needs_the_external_url(kind, gateway, external, tmp_path):
    with proxy(kind, REPLACED[kind], gateway, tmp_path) as port:
        assert deleted(port) == 403
    with proxy(kind, REPLACED[kind], external, tmp_path) as port:
        assert deleted(port, "https://metrics.example") == 202
        assert deleted(port, "https://evil.example") == 403


@pytest.mark.parametrize("kind", FORWARDED)
def test_a_replaced_host_needs_a_trusted_proxy_that_forwards_it(kind, gateway, trusting, tmp_path):
    with proxy(kind, FORWARDED[kind], trusting, tmp_path) as port:
        assert deleted(port) == 202
        assert deleted(port, "http://evil.example") == 403
        assert deleted(port, "https://metrics.example:{port}") == 403
    with proxy(kind, FORWARDED[kind], gateway, tmp_path) as port:
        assert deleted(port) == 403


def test_below_a_path_the_proxy_passes_the_whole_path(tmp_path):
    url = "--web.external-url=http://metrics.example:8080/pushgateway/"
    with (
        services.pushgate(url) as gateway,
        proxy("nginx", NGINX_PREFIX, gateway, tmp_path) as port,
    ):
        assert deleted(port, "http://metrics.example:8080", "/pushgateway") == 202
        page = ask(port, "GET", "/pushgateway/")
        assert page.status == 200
        assert 'href="/pushgateway/static/style.css' in page.text


# What nginx does unless told otherwise: HTTP/1.0, without keep-alive.
NGINX_DEFAULTS = """server {
    listen 127.0.0.1:8080;
    client_max_body_size 0;
    BUFFERING
    location / { proxy_pass http://127.0.0.1:9091; }
}"""


@pytest.mark.parametrize("buffering", ["", "proxy_request_buffering off;"])
def test_an_early_refusal_of_a_large_push_reaches_the_sender(buffering, gateway, tmp_path):
    example = NGINX_DEFAULTS.replace("BUFFERING", buffering)
    body = b"m 1\n" * 10_500_000
    with proxy("nginx", example, gateway, tmp_path) as port:
        for target, status in [("/metrics/job/a", 413), ("/nothing", 404)] * 2:
            assert ask(port, "PUT", target, body).status == status
