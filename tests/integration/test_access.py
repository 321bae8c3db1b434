"""Who comes in, on the running server: each row of the web configuration over a real socket."""

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest

from tests import services
from tests.exchange import TIMEOUT, ask, methods
from tests.integration.tlsserver import (
    REFUSED,
    Configured,
    ask_tls,
    basic,
    bearer,
    configured,
    write,
)
from tests.server.access.certificates import Pair, Pki, hashed, sha256
from tests.server.access.tlsclient import client_context, plain
from tests.waiting import until

V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
OPEN = "http_server_config: {http2: true}\n"  # asks nobody for credentials
PAIR = "cert_file: server.pem, key_file: server.key"


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    """The authority; its files lie beside the configuration of `tls`."""
    pki = Pki(tmp_path_factory.mktemp("access"))
    pki.issue("server", "localhost")
    return pki


@pytest.fixture(scope="module")
def clients(pki, tmp_path_factory) -> dict[str, Pair | None]:
    strangers = Pki(tmp_path_factory.mktemp("strangers"))
    return {
        "none": None,
        "known": pki.issue("known", "agent.example"),
        "other": pki.issue("other", "other.example"),
        "expired": pki.issue("expired", "agent.example", expired=True),
        "stranger": strangers.issue("stranger", "agent.example"),
    }


@pytest.fixture(scope="module")
def tls(pki) -> Iterator[Configured]:
    with configured(pki.directory / "web.yml", tls_config(), "--limit.header-seconds=2") as server:
        yield server


@pytest.fixture(scope="module")
def open_server(tmp_path_factory) -> Iterator[Configured]:
    with configured(tmp_path_factory.mktemp("open") / "web.yml", "") as server:
        yield server


def tls_config(settings: str = "", rest: str = "") -> str:
    more = f", {settings}" if settings else ""
    return f"tls_server_config: {{{PAIR}{more}}}\n{rest}"


def admitted(server: Configured, pki: Pki, pair: Pair | None = None, **options) -> bool:
    """Whether a client is let in: it gets an answer."""
    try:
        return ask_tls(server.port, client_context(pki.ca_file, pair, **options)).status == 200
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return False


# --- TLS -----------------------------------------------------------------------------------------


def test_certificate_and_key_are_files_beside_the_configuration(tls, pki):
    tls.configure(tls_config())
    assert admitted(tls, pki)


def test_certificate_and_key_may_stand_in_the_configuration_and_files_win(tls, pki):
    pem = {key: (pki.directory / f"server.{end}").read_text() for key, end in KEYS.items()}
    tls.configure(json.dumps({"tls_server_config": pem}))
    assert admitted(tls, pki)
    wrong = {"cert": "nonsense", "key": "nonsense", "cert_file": "server.pem"}
    tls.configure(json.dumps({"tls_server_config": {**wrong, "key_file": "server.key"}}))
    assert admitted(tls, pki)


KEYS = {"cert": "pem", "key": "key"}


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("NoClientCert", {"none", "known", "other", "expired", "stranger"}),
        ("RequestClientCert, client_ca_file: ca.pem", {"none", "known", "other"}),
        ("RequestClientCert", {"none", "known", "other", "expired", "stranger"}),
        ("VerifyClientCertIfGiven, client_ca_file: ca.pem", {"none", "known", "other"}),
        ("RequireAnyClientCert, client_ca_file: ca.pem", {"known", "other"}),
        ("RequireClientCert, client_ca_file: ca.pem", {"known", "other"}),
        ("RequireAndVerifyClientCert, client_ca_file: ca.pem", {"known", "other"}),
        (
            "VerifyClientCertIfGiven, client_ca_file: ca.pem, client_allowed_sans: [agent.example]",
            {"none", "known"},
        ),
        (
            "RequireClientCert, client_ca_file: ca.pem, client_allowed_sans: [x, agent.example]",
            {"known"},
        ),
    ],
)
def test_each_client_auth_type_lets_in_whom_it_should(tls, pki, clients, policy, expected, version):
    tls.configure(tls_config(f"client_auth_type: {policy}"))
    found = {name for name, pair in clients.items() if admitted(tls, pki, pair, highest=version)}
    assert found == expected


def test_the_authority_of_clients_may_stand_in_the_configuration(tls, pki, clients):
    settings = {
        "cert_file": "server.pem",
        "key_file": "server.key",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca": pki.ca_file.read_text(),
    }
    tls.configure(json.dumps({"tls_server_config": settings}))
    assert admitted(tls, pki, clients["known"])
    assert not admitted(tls, pki, clients["stranger"])


def test_old_versions_are_refused_unless_configured(tls, pki):
    old = {"highest": ssl.TLSVersion.TLSv1_1, "ciphers": "DEFAULT:@SECLEVEL=0"}
    tls.configure(tls_config())
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        ask_tls(tls.port, client_context(pki.ca_file, **old))
    tls.configure(tls_config("min_version: TLS10"))
    assert admitted(tls, pki, **old)
    tls.configure(tls_config("min_version: TLS13"))
    assert not admitted(tls, pki, highest=V2)
    tls.configure(tls_config("max_version: TLS12"))
    assert admitted(tls, pki, highest=V2)


def test_only_configured_ciphers_and_curves_are_spoken(tls, pki):
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    tls.configure(tls_config(f"cipher_suites: [{suite}], prefer_server_cipher_suites: false"))
    assert admitted(tls, pki, highest=V2, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    assert not admitted(tls, pki, highest=V2, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    tls.configure(tls_config("curve_preferences: [CurveP384, X25519]"))
    assert admitted(tls, pki, curve="secp384r1")
    assert not admitted(tls, pki, curve="prime256v1")
    assert "curve_preferences: only CurveP384 is offered" in tls.log


@pytest.mark.parametrize("setting", ["true", "false"])
def test_http2_is_not_offered(tls, pki, setting):
    tls.configure(tls_config(rest=f"http_server_config: {{http2: {setting}}}\n"))
    context = client_context(pki.ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", tls.port), timeout=TIMEOUT) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_plain_http_is_told_to_speak_tls(tls):
    told = plain(tls.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert told.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert told.endswith(b"\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")


def test_tls_is_off_unless_there_is_something_to_do(open_server):
    open_server.configure("tls_server_config: {min_version: TLS13}\n")
    assert ask(open_server.port, "GET", "/-/ready").status == 200


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: install it")
def test_openssl_pushes(tls, clients):
    tls.configure(
        tls_config("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem")
    )
    known = clients["known"]
    assert known
    request = b"PUT /metrics/job/openssl HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    done = subprocess.run(
        [
            *("openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{tls.port}"),
            *("-cert", str(known.certificate), "-key", str(known.key)),
        ],
        input=request + b"Connection: close\r\n\r\nm 1\n",
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: install it")
def test_openssl_is_told_why_it_is_refused(tls, clients):
    tls.configure(
        tls_config(
            "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem,"
            " client_allowed_sans: [agent.example]"
        )
    )
    refusals = {
        "none": "certificate required",
        "expired": "certificate expired",
        "stranger": "unknown ca",
        "other": "",  # the connection just ends
    }
    for name, alert in refusals.items():
        pair = clients[name]
        shown = ("-cert", str(pair.certificate), "-key", str(pair.key)) if pair else ()
        answered, said = s_client(tls.port, *shown)
        assert not answered
        assert alert in said, (name, said)
    known = clients["known"]
    shown = ("-cert", str(known.certificate), "-key", str(known.key))
    answered, said = s_client(tls.port, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0", *shown)
    assert not answered
    assert "alert protocol version" in said
    answered, _ = s_client(tls.port, *shown)
    assert answered


def s_client(port: int, *arguments: str) -> tuple[bool, str]:
    """Whether openssl is answered, and what it says about it."""
    done = subprocess.run(
        ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", *arguments],
        input=b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.stdout.startswith(b"HTTP/1.1 200 OK\r\n"), done.stderr.decode(errors="replace")


def test_a_certificate_is_replaced_while_connections_are_open(tls, pki, tmp_path):
    tls.configure(tls_config())
    kept = http.client.HTTPSConnection(
        "localhost", tls.port, timeout=TIMEOUT, context=client_context(pki.ca_file)
    )
    with contextlib.closing(kept):
        kept.request("PUT", "/metrics/job/kept", b"m 1\n")
        assert kept.getresponse().read() == b""
        other = Pki(tmp_path)
        pair = other.issue("server", "localhost")
        before = {name: (pki.directory / name).read_text() for name in ("server.pem", "server.key")}
        write(pki.directory / "server.pem", pair.certificate.read_text())
        write(pki.directory / "server.key", pair.key.read_text())
        tls.hang_up()
        assert ask_tls(tls.port, client_context(other.ca_file)).status == 200
        assert not admitted(tls, pki)
        kept.request("GET", "/metrics")
        assert b'm{instance="",job="kept"} 1' in kept.getresponse().read()
        for name, text in before.items():
            write(pki.directory / name, text)
        tls.hang_up()


def test_files_are_noticed_without_a_signal(tls, pki, tmp_path):
    tls.configure(tls_config())
    pair = Pki(tmp_path).issue("server", "localhost")
    before = {name: (pki.directory / name).read_text() for name in ("server.pem", "server.key")}
    times = tls.log.count("web configuration reloaded")
    write(pki.directory / "server.pem", pair.certificate.read_text())
    write(pki.directory / "server.key", pair.key.read_text())
    tls.wait_for_log("web configuration reloaded", times + 1)
    assert not admitted(tls, pki)
    for name, text in before.items():
        write(pki.directory / name, text)
    tls.hang_up()
    assert admitted(tls, pki)


@pytest.mark.parametrize("version", [V2, V3])
def test_a_connection_ends_with_the_certificate_of_its_client(tls, pki, version):
    tls.configure(
        tls_config("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem")
    )
    pair = pki.short_lived("short", "agent.example", seconds=5)
    context = client_context(pki.ca_file, pair, highest=version)
    raw = socket.create_connection(("127.0.0.1", tls.port), timeout=TIMEOUT)
    with context.wrap_socket(raw, server_hostname="localhost") as connection:
        connection.sendall(b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))  # up to the end
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not admitted(tls, pki, pair, highest=version)


def test_a_client_refused_in_the_handshake_is_not_kept(tls, pki, clients):
    tls.configure(
        tls_config("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem")
    )
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", tls.port), timeout=TIMEOUT) as silent:
        assert silent.recv(1) == b""  # who says nothing is sent away, too
    assert time.monotonic() - started < 2 + 8
    context = client_context(pki.ca_file)
    raw = socket.create_connection(("127.0.0.1", tls.port), timeout=TIMEOUT)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as refused:
        with contextlib.suppress(ssl.SSLError):
            refused.recv(1)  # the alert; we do not hang up
        raw_again = socket.socket(fileno=refused.detach())
        with raw_again:
            raw_again.settimeout(TIMEOUT)
            with contextlib.suppress(ConnectionError):
                assert raw_again.recv(100) == b""
    assert admitted(tls, pki, clients["known"])


# --- Configurations that cannot be used ----------------------------------------------------------


def test_a_configuration_that_became_invalid_changes_nothing(open_server):
    open_server.configure(f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    failures = metric(open_server, "pushgate_web_config_reload_failures_total")
    for broken in ("nonsense: 1\n", "basic_auth_users: [\n", "tls_server_config: {cert: x}\n"):
        open_server.configure(broken, expect=REFUSED)
    assert ask(open_server.port, "GET", "/-/ready", headers=basic("alice", "secret")).status == 200
    assert ask(open_server.port, "GET", "/metrics").status == 401
    assert metric(open_server, "pushgate_web_config_reload_failures_total") == failures + 3
    open_server.file.unlink()
    open_server.hang_up(REFUSED)
    assert ask(open_server.port, "GET", "/metrics").status == 401
    open_server.configure(tls_config(), expect=REFUSED)  # TLS needs a restart
    open_server.configure("", expect=REFUSED)  # a disk that was full, a template without values
    assert ask(open_server.port, "GET", "/metrics").status == 401
    open_server.configure(OPEN)
    assert ask(open_server.port, "GET", "/metrics").status == 200
    assert "secret" not in open_server.log
    assert "$2" not in open_server.log


def metric(server: Configured, name: str) -> float:
    text = ask(server.port, "GET", "/metrics", headers=basic("alice", "secret")).text
    [line] = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[1])


# --- Basic auth, headers, rate limit: as the Go server -------------------------------------------

USERS = {"alice": "secret", "bob": "p:w", "özil": "pässword"}
SHARED = "basic_auth_users:\n" + "".join(
    f"  {user}: {hashed(password)}\n" for user, password in USERS.items()
)
SHARED += """http_server_config:
  headers:
    Content-Security-Policy: "default-src 'self'"
    Strict-Transport-Security: max-age=1
    X-XSS-Protection: ""
    X-Content-Type-Options: nosniff
    X-Frame-Options: sameorigin
"""
COMPARED_HEADERS = (
    *("www-authenticate", "content-type", "content-length", "content-security-policy"),
    *("strict-transport-security", "x-xss-protection", "x-content-type-options"),
    *("x-frame-options", "allow", "location"),
)
CREDENTIALS = {
    "none": {},
    "right": basic("alice", "secret"),
    "colon": basic("bob", "p:w"),
    "utf-8": basic("özil", "pässword"),
    "wrong password": basic("alice", "wrong"),
    "empty password": basic("alice", ""),
    "unknown user": basic("mallory", "secret"),
    "lower case scheme": {"Authorization": basic("alice", "secret")["Authorization"].lower()[:5]},
    "other case": {"Authorization": "bAsIc YWxpY2U6c2VjcmV0"},
    "no colon": {"Authorization": "Basic YWxpY2U="},
    "not base64": {"Authorization": "Basic !!!!"},
    "padding missing": {"Authorization": "Basic YWxpY2U6c2VjcmV"},
    "two blanks": {"Authorization": "Basic  YWxpY2U6c2VjcmV0"},
    "bearer": bearer("secret"),
    "empty": {"Authorization": ""},
}
REQUESTS = [
    ("GET", "/-/healthy", b""),
    ("GET", "/-/ready", b""),
    ("PUT", "/metrics/job/j", b"m 1\n"),
    ("POST", "/metrics/job/j/a", b"m 1\n"),
    ("PUT", "/metrics/job/j", b"m{ 1\n"),
    ("DELETE", "/metrics/job/j", b""),
    ("GET", "/nope", b""),
    ("PATCH", "/metrics", b""),
    ("OPTIONS", "/metrics", b""),
    ("OPTIONS", "/api/v1/status", b""),
    ("PUT", "/api/v1/admin/wipe", b""),
    ("PUT", "/-/quit", b""),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    directory = tmp_path_factory.mktemp("both")
    file = directory / "shared.yml"
    file.write_text(SHARED)
    flag = f"--web.config.file={file}"
    with services.go_pushgateway(flag) as go, services.pushgate(flag) as ours:
        yield ours.port, go.port


@pytest.mark.parametrize("who", CREDENTIALS)
def test_credentials_and_headers_are_answered_as_by_the_go_server(both, who):
    for method, target, body in REQUESTS:
        ours, go = (seen(port, method, target, body, CREDENTIALS[who]) for port in both)
        assert ours == go, (method, target)


def seen(port: int, method: str, target: str, body: bytes, headers: dict[str, str]):
    answer = ask(port, method, target, body, headers)
    shown = {name: answer.headers[name] for name in COMPARED_HEADERS}
    shown["allow"] = methods(shown["allow"])
    return answer.status, answer.first_line.replace("\xa0", " "), shown


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [("{interval: 1h, burst: 3}", 2), ("{interval: 1h}", 0), ("{interval: 0s, burst: 1}", 9)],
)
def test_the_rate_limit_is_that_of_the_go_server(tmp_path, limit, allowed):
    file = tmp_path / "web.yml"
    file.write_text(
        f"rate_limit: {limit}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    )
    flag = f"--web.config.file={file}"
    with services.go_pushgateway(flag) as go, services.pushgate(flag) as ours:
        for _ in range(4):
            answers = [seen(service.port, "GET", "/nope", b"", {}) for service in (ours, go)]
            assert answers[0] == answers[1]
        limited = ask(ours.port, "GET", "/nope")
        assert (limited.status == 429) == (allowed < 4)


def test_two_listeners_share_one_rate_limit(open_server):
    """The Go server wraps each listener; the effect is the same: one limit."""
    open_server.configure("rate_limit: {interval: 1h, burst: 2}\n")
    statuses = [ask(open_server.port, "GET", "/-/ready").status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    open_server.configure(OPEN)


def test_wrong_passwords_keep_nobody_out(tmp_path):
    """130 clients guess without a pause, from one address, and so does a new user's first push."""
    users = {"alice": hashed("wonder", cost=6), "bob": hashed("builder", cost=6)}
    text = "basic_auth_users:\n" + "".join(f"  {user}: {users[user]}\n" for user in users)
    with configured(tmp_path / "web.yml", text) as server, Guessing(server.port, 130) as guessing:
        guessing.wait_for(130)
        statuses = [
            ask(server.port, "PUT", "/metrics/job/j", b"m 1\n", basic(*right)).status
            for right in 6 * [("bob", "builder"), ("alice", "wonder")]
        ]
        assert statuses == [200] * 12


class Guessing:
    """Clients that try wrong passwords, each one after the other, until the block ends."""

    def __init__(self, port: int, clients: int) -> None:
        self.wrong = 0
        self._port = port
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._guess, args=(n,)) for n in range(clients)]

    def _guess(self, client: int) -> None:
        for attempt in range(1000):
            if self._ended.is_set():
                return
            guess = basic("alice", f"guess {client} {attempt}")
            answer = ask(self._port, "GET", "/-/ready", headers=guess)
            with self._lock:
                self.wrong += answer.status == 401

    def wait_for(self, wrong: int) -> None:
        until(lambda: self.wrong >= wrong, reason="too few answers")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


# --- Keys of our own -----------------------------------------------------------------------------


def test_tokens_and_permissions_change_with_their_files(open_server):
    directory = open_server.file.parent
    write(directory / "token", "first\n")
    open_server.configure(
        "bearer_tokens:\n  - {name: ci, token_file: token}\n"
        f"  - {{name: p, sha256: {sha256('scraper')}}}\n"
        "permissions: {tokens: {ci: [{allow: [push], jobs: ['ci-*']}], p: [scrape]}}\n"
        "exempt_health_endpoints: true\n"
    )
    port = open_server.port

    def push(token: str, job: str = "ci-1"):
        return ask(port, "PUT", f"/metrics/job/{job}", b"m 1\n", bearer(token))

    assert push("first").status == 200
    refused = push("first", "other")
    assert (refused.status, refused.text) == (
        403,
        'token "ci" lacks permission push for job "other"\n',
    )
    assert ask(port, "GET", "/metrics", headers=bearer("scraper")).status == 200
    assert push("scraper").status == 403
    stranger = push("second")
    assert (stranger.status, stranger.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert ask(port, "GET", "/-/ready").status == 200
    write(directory / "token", "second\n")
    open_server.hang_up()
    assert push("second").status == 200
    assert push("first").status == 401
    open_server.configure(OPEN)
    for secret in ("first", "second", "scraper"):
        assert f"{secret}\n" not in open_server.log


def test_a_certificate_stands_for_its_name(tls, pki, clients):
    policy = "client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem"
    tls.configure(
        tls_config(policy, "permissions: {certificates: {agent.example: [push, scrape]}}\n")
    )
    asked = {
        name: ask_tls(
            tls.port, client_context(pki.ca_file, clients[name]), "PUT", "/metrics/job/c", b"m 1\n"
        ).status
        for name in ("none", "known", "other")
    }
    assert asked == {"none": 403, "known": 200, "other": 403}
    tls.configure(tls_config())


def test_secrets_are_not_in_the_status(tmp_path):
    file = tmp_path / "web.yml"
    secret = hashed("hunter2")
    users = f"basic_auth_users: {{alice: '{secret}'}}\n"
    with configured(file, users) as server:
        for target in ("/api/v1/status", "/status", "/metrics", "/api/v1/metrics"):
            text = ask(server.port, "GET", target, headers=basic("alice", "hunter2")).text
            assert secret not in text
            assert "hunter2" not in text
        assert secret not in server.log
