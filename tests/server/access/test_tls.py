import asyncio
import socket
import ssl
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization

from pushgate.errors import StartupError
from pushgate.server.access import tls
from pushgate.server.access.tls import (
    CIPHERS,
    CURVES,
    VERSIONS,
    ClientAuth,
    ListenerContext,
    TlsConfig,
    caveats,
    names,
    server_context,
    valid_until,
)
from tests.server.access.certificates import Pair, Pki
from tests.server.access.tlsclient import Client, client_context, echo_server, plain, talk

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"], scope="module")
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(pki) -> Pair:
    return pki.issue("server", "localhost")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Pair:
    """A client with the right name, of an authority nobody trusts."""
    return Pki(tmp_path_factory.mktemp("strangers")).issue("client", "agent.example")


@pytest.fixture(scope="module")
def clients(pki, stranger) -> dict[str, Pair | None]:
    return {
        "none": None,
        "known": pki.issue("client", "agent.example"),
        "expired": pki.issue("expired", "agent.example", expired=True),
        "stranger": stranger,
    }


def config(server: Pair, **settings) -> TlsConfig:
    pair = {"cert": server.certificate.read_text(), "key": server.key.read_text()}
    return TlsConfig(**pair | settings)


def listener(server: Pair, **settings) -> ListenerContext:
    return ListenerContext.around(server_context(config(server, **settings)))


def verifying(server: Pair, authority: str, **settings) -> ListenerContext:
    """A listener that serves clients whose certificate *authority* vouches for."""
    policy = ClientAuth.REQUIRE_AND_VERIFY.value
    return listener(server, client_auth_type=policy, client_ca=authority, **settings)


async def answer(context: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    async with echo_server(context) as port:
        return await asyncio.to_thread(talk, port, client)


async def refusal(context: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Return why *client* is not served; a connection that just ends has no reason."""
    try:
        served = await answer(context, client)
    except OSError as error:
        reason = getattr(error, "reason", None) or ""
        return "" if "EOF" in reason else reason
    assert not served
    return ""


async def test_serves_http_1_1_over_the_newest_tls(pki, server):
    context = client_context(pki.ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with echo_server(listener(server)) as port:
        with await asyncio.to_thread(Client, port, context) as client:
            assert client.socket.version() == "TLSv1.3"
            assert client.socket.selected_alpn_protocol() == "http/1.1"
            assert await asyncio.to_thread(client.say, b"hello\n") == b"hello\n"


# client_auth_type by what the client shows → served, or the alert it gets.
@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (ClientAuth.NONE, {"none", "known", "expired", "stranger"}),
        (ClientAuth.REQUEST, {"none", "known"}),
        (ClientAuth.VERIFY_IF_GIVEN, {"none", "known"}),
        (ClientAuth.REQUIRE_ANY, {"known"}),
        (ClientAuth.REQUIRE_AND_VERIFY, {"known"}),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_each_client_auth_type_serves_whom_it_should(
    policy, served, version, pki, server, clients
):
    authority = "" if policy is ClientAuth.NONE else pki.ca_file.read_text()
    context = listener(server, client_auth_type=policy.value, client_ca=authority)
    alerts = {
        "none": {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"},
        "expired": {"SSLV3_ALERT_CERTIFICATE_EXPIRED"},
        "stranger": {"TLSV1_ALERT_UNKNOWN_CA"},
    }
    for who, pair in clients.items():
        client = client_context(pki.ca_file, pair, highest=version)
        if who in served:
            assert await answer(context, client) == b"hello\n", who
        else:
            assert await refusal(context, client) in alerts[who]


async def test_request_without_an_authority_asks_nobody(pki, server, clients):
    context = listener(server, client_auth_type=ClientAuth.REQUEST.value)
    for pair in clients.values():
        assert await answer(context, client_context(pki.ca_file, pair)) == b"hello\n"


async def test_an_intermediate_authority_is_enough(pki, server):
    inner = pki.authority.create_child_ca()
    leaf = pki.directory / "inner"
    issued = inner.issue_cert("inner.example")
    pair = Pair(leaf.with_suffix(".pem"), leaf.with_suffix(".key"))
    pair.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    pair.key.write_bytes(issued.private_key_pem.bytes())
    context = verifying(server, inner.cert_pem.bytes().decode())
    assert await answer(context, client_context(pki.ca_file, pair)) == b"hello\n"


@pytest.mark.parametrize("name", ["agent.example", "ops@example.org", "10.0.0.1", "2001:db8::1"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_needs_one_of_the_allowed_names(name, version, pki, server):
    client = client_context(pki.ca_file, pki.issue("named", "other.example", name), highest=version)
    authority = pki.ca_file.read_text()
    allowed = verifying(server, authority, client_allowed_sans=("else.example", name))
    assert await answer(allowed, client) == b"hello\n"
    refused = verifying(server, authority, client_allowed_sans=("else.example",))
    assert await refusal(refused, client) == ""


async def test_allowed_names_do_not_ask_for_a_certificate(pki, server):
    context = listener(
        server,
        client_auth_type=ClientAuth.VERIFY_IF_GIVEN.value,
        client_ca=pki.ca_file.read_text(),
        client_allowed_sans=("x",),
    )
    assert await answer(context, client_context(pki.ca_file)) == b"hello\n"


def test_names_are_those_of_the_certificate():
    shown = {
        "subjectAltName": (
            ("DNS", "a"),
            ("IP Address", "2001:DB8:0:0:0:0:0:1"),
            ("email", "ops@example.org"),
            ("URI", "spiffe://example.org/batch"),
        )
    }
    expected = {"a", "2001:db8::1", "ops@example.org", "spiffe://example.org/batch"}
    assert names(shown) == expected
    assert names({}) == frozenset()


@pytest.mark.parametrize(
    "entry",
    [
        ("URI", "agent.example"),
        ("URI", "10.0.0.1"),
        ("URI", "ops@example.org"),
        ("DNS", "10.0.0.1"),
        ("DNS", "2001:db8::1"),
        ("DNS", "ops@example.org"),
        ("DNS", "spiffe://example.org/batch"),
        ("email", "agent.example"),
        ("email", "spiffe://ops@example.org"),
        ("email", "10.0.0.1"),
        ("IP Address", "<invalid>"),
        ("Registered ID", "1.2.3"),
        ("othername", "<unsupported>"),
        ("DirName", ((("commonName", "agent.example"),),)),
    ],
)
def test_a_name_that_looks_like_one_of_another_kind_counts_as_neither(entry):
    assert names({"subjectAltName": (entry,)}) == frozenset()


async def test_a_uri_is_not_the_host_it_looks_like(pki, server):
    """Anybody may be let have a URI of their own; the host's name is the host's."""
    leaf = pki.with_uri("uri", "agent.example")
    names_of_agent = ("agent.example",)
    context = verifying(server, pki.ca_file.read_text(), client_allowed_sans=names_of_agent)
    assert await refusal(context, client_context(pki.ca_file, leaf)) == ""


@pytest.mark.parametrize("version", ["TLS10", "TLS11"])
async def test_old_versions_are_refused_unless_configured(version, pki, server):
    client = client_context(pki.ca_file, highest=VERSIONS[version], ciphers="DEFAULT:@SECLEVEL=0")
    assert await refusal(listener(server), client) == "TLSV1_ALERT_PROTOCOL_VERSION"
    lenient = listener(server, min_version=version)
    assert await answer(lenient, client) == b"hello\n"


async def test_the_highest_version_is_kept(pki, server):
    context = listener(server, max_version="TLS12")
    async with echo_server(context) as port:
        with await asyncio.to_thread(Client, port, client_context(pki.ca_file)) as client:
            assert client.socket.version() == "TLSv1.2"


@pytest.mark.parametrize("name", CIPHERS)
def test_every_cipher_go_calls_secure_can_be_chosen(name, server):
    context = server_context(config(server, cipher_suites=(name,)))
    assert CIPHERS[name] in {cipher["name"] for cipher in context.get_ciphers()}


async def test_only_the_chosen_ciphers_are_spoken(pki, server):
    chosen = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    context = listener(server, cipher_suites=(chosen,))

    def offering(cipher: str) -> ssl.SSLContext:
        return client_context(pki.ca_file, highest=ssl.TLSVersion.TLSv1_2, ciphers=cipher)

    assert await answer(context, offering(CIPHERS[chosen])) == b"hello\n"
    assert (
        await refusal(context, offering("ECDHE-ECDSA-AES128-GCM-SHA256"))
        == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    )


async def test_ciphers_of_tls_1_3_alone_leave_nothing_older(pki, server):
    context = listener(server, cipher_suites=("TLS_AES_128_GCM_SHA256",))
    older = client_context(pki.ca_file, highest=ssl.TLSVersion.TLSv1_2)
    assert await refusal(context, older) == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert await answer(context, client_context(pki.ca_file)) == b"hello\n"


@pytest.mark.parametrize("curve", CURVES)
async def test_the_chosen_curve_is_used(curve, pki, server):
    context = listener(server, curve_preferences=(curve,))
    other = "secp384r1" if curve != "CurveP384" else "prime256v1"
    assert await answer(context, client_context(pki.ca_file, curve=CURVES[curve])) == b"hello\n"
    assert (
        await refusal(context, client_context(pki.ca_file, curve=other))
        == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    )


async def test_plain_http_is_told_to_speak_tls(server):
    async with echo_server(listener(server)) as port:
        told = await asyncio.to_thread(plain, port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert body == b"Client sent an HTTP request to an HTTPS server.\n"
    assert b"Content-Length: %d" % len(body) in head


async def test_garbage_ends_one_connection_only(pki, server):
    async with echo_server(listener(server)) as port:
        await asyncio.to_thread(plain, port, b"\0" * 100)
        assert await asyncio.to_thread(talk, port, client_context(pki.ca_file)) == b"hello\n"


async def test_a_new_certificate_is_for_new_handshakes_only(pki, server, tmp_path):
    other = Pki(tmp_path)
    context = listener(server)
    async with echo_server(context) as port:
        old = await asyncio.to_thread(Client, port, client_context(pki.ca_file))
        with old:
            context.current = server_context(config(other.issue("server", "localhost")))
            assert await asyncio.to_thread(old.say, b"still here\n") == b"still here\n"
            new = await asyncio.to_thread(talk, port, client_context(other.ca_file))
            assert new == b"hello\n"
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.to_thread(talk, port, client_context(pki.ca_file))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_expired_certificate_is_not_accepted_by_resumption(
    pki, server, version, monkeypatch
):
    tomorrow = time.time() + 24 * 3600
    pair = pki.short_lived("short", "agent.example", seconds=3600)
    context = verifying(server, pki.ca_file.read_text())
    client = client_context(pki.ca_file, pair, highest=version)
    async with echo_server(context) as port:
        with await asyncio.to_thread(Client, port, client) as first:
            assert await asyncio.to_thread(first.say, b"hello\n") == b"hello\n"
            session = first.socket.session
        assert await asyncio.to_thread(resumed, port, client, session) == b"hello\n"
        monkeypatch.setattr(tls, "time", SimpleNamespace(time=lambda: tomorrow))
        assert not await asyncio.to_thread(resumed, port, client, session)


def resumed(port: int, client: ssl.SSLContext, session: ssl.SSLSession | None) -> bytes:
    """Return what the server answers to a client that tries to resume; nothing if refused."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    try:
        with client.wrap_socket(raw, server_hostname="localhost", session=session) as again:
            again.sendall(b"hello\n")
            return again.recv(100)
    except OSError:
        return b""


def test_the_end_of_a_certificate_is_known():
    assert valid_until({"notAfter": "Jan  5 09:34:43 2018 GMT"}) == 1515144883
    assert valid_until({}) == valid_until(None) == float("inf")


async def test_a_session_from_before_does_not_outlive_the_authority(pki, server, clients, tmp_path):
    """A client that could resume must show its certificate again once the CA has changed."""
    context = verifying(server, pki.ca_file.read_text())
    client = client_context(pki.ca_file, clients["known"])
    async with echo_server(context) as port:
        with await asyncio.to_thread(Client, port, client) as first:
            assert await asyncio.to_thread(first.say, b"hello\n") == b"hello\n"
            session = first.socket.session
        assert await asyncio.to_thread(resumed, port, client, session) == b"hello\n"
        context.current = verifying(server, Pki(tmp_path).ca_file.read_text()).current
        assert not await asyncio.to_thread(resumed, port, client, session)


def broken(server: Pair, complaint: str, **settings) -> None:
    with pytest.raises(StartupError) as caught:
        server_context(config(server, **settings))
    assert str(caught.value) == complaint


def test_a_pair_that_does_not_fit_is_refused(server, pki):
    pair = "failed to load X509KeyPair: tls: "
    other = pki.issue("other", "localhost").key.read_text()
    broken(server, f"{pair}private key does not match public key", key=other)
    broken(server, f"{pair}failed to find any PEM data in certificate input", cert="x")
    broken(server, f"{pair}failed to find any PEM data in key input", key="x")


def test_a_key_with_a_password_is_refused_without_asking_for_it(server):
    key = serialization.load_pem_private_key(server.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    ).decode()
    broken(
        server,
        "failed to load X509KeyPair: tls: the key is encrypted; give it without a password",
        key=locked,
    )


def test_an_authority_without_certificate_is_refused(server):
    broken(
        server,
        "client_ca contains no usable certificate",
        client_auth_type=ClientAuth.VERIFY_IF_GIVEN.value,
        client_ca="nothing",
    )


def test_any_certificate_without_an_authority_is_refused(server):
    broken(
        server,
        "client_auth_type RequireAnyClientCert needs client_ca or client_ca_file here:"
        " an unverified certificate proves nothing",
        client_auth_type=ClientAuth.REQUIRE_ANY.value,
    )


def test_versions_that_exclude_each_other_are_refused(server):
    broken(
        server,
        "tls_server_config allows no TLS version: the lowest is TLSv1_3, the highest TLSv1_2;"
        " change min_version, max_version or cipher_suites",
        min_version="TLS13",
        max_version="TLS12",
    )


def test_what_cannot_be_done_as_asked_is_said(server):
    assert not list(caveats(config(server, curve_preferences=("X25519",))))
    (line,) = caveats(config(server, curve_preferences=("X25519", "CurveP256")))
    assert line.startswith("curve_preferences: only X25519 is offered")
    (line,) = caveats(config(server, client_auth_type=ClientAuth.REQUIRE_ANY.value, client_ca="x"))
    assert "RequireAndVerifyClientCert" in line


def test_the_key_shows_in_no_repr(server):
    assert "PRIVATE" not in repr(config(server))
    assert Path(server.key).read_text() not in repr(config(server))
