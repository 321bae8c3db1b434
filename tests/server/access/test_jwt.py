import asyncio
import base64
import gzip
import hmac
import http.server
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from pushgate.errors import StartupError
from pushgate.server.access import jwt as jwt_module
from pushgate.server.access.auth import Access, Refusal
from pushgate.server.access.config import ClaimRule, JwtIssuer, Permission
from pushgate.server.access.config_file import parse
from pushgate.server.access.jwt import JwtVerifier
from pushgate.server.access.live import LiveConfig
from tests.server.access.certificates import Pki, hashed

pytestmark = pytest.mark.anyio

ISSUER = "https://kubernetes.example"
NOW = 1_000_000.0
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
EC = ECKey.generate_key("P-256", parameters={"kid": "ec"})
POD = "system:serviceaccount:batch:backup"


def jwks(*keys) -> str:
    return json.dumps(KeySet(list(keys)).as_dict(private=False))


def token(key=RSA, alg: str = "RS256", header=(), **claims) -> str:
    usual = {"iss": ISSUER, "aud": ["pushgate"], "sub": POD, "exp": int(NOW) + 60}
    claims = {k: v for k, v in {**usual, **claims}.items() if v is not None}
    return jwt.encode({"alg": alg, "kid": key.kid, **dict(header)}, claims, key, algorithms=[alg])


RULES = """
    permissions:
      - {claim: sub, value: "system:serviceaccount:batch:*", allow: [push], jobs: ["backup*"]}
      - {claim: [kubernetes.io, namespace], value: ops, allow: [delete]}
      - {claim: groups, value: admins, allow: [admin]}
"""


def access(directory: Path, *keys, now: float = NOW) -> Access:
    (directory / "jwks.json").write_text(jwks(*(keys or (RSA, EC))))
    text = f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_file: jwks.json{RULES}"
    return Access(parse(text.encode(), base=directory), clock=lambda: now)


async def ask(access: Access, token: str, permission=Permission.PUSH, job: str | None = "backup"):
    headers = [(b"authorization", b"Bearer " + token.encode())]
    return await access.admit(headers, None, permission, [job])


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS384"), (EC, "ES256")])
async def test_a_token_of_the_issuer_comes_in(key, alg, tmp_path):
    assert await ask(access(tmp_path), token(key, alg)) is None


async def test_what_it_may_do_is_what_its_claims_say(tmp_path):
    gate = access(tmp_path)
    refusal = await ask(gate, token(), job="other")
    assert refusal == Refusal(403, f'JWT subject "{POD}" lacks permission push for job "other"')
    ops = token(**{"kubernetes.io": {"namespace": "ops"}})
    assert await ask(gate, ops, Permission.DELETE, "other") is None
    assert await ask(gate, token(groups=["x", "admins"]), Permission.ADMIN, None) is None
    assert (await ask(gate, token(sub="nobody"))).status == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://else.example"},
        {"iss": None},
        {"aud": "else"},
        {"aud": None},
        {"exp": int(NOW) - 31},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(NOW) + 60},
    ],
)
async def test_a_token_with_other_claims_is_refused(claims, tmp_path):
    assert (await ask(access(tmp_path), token(**claims))).status == 401


NO_TIMES = [
    *(10**400, 10**20, -1, -(10**400), 1e300, float("nan"), float("inf"), -float("inf")),
    *("1", "", [1], [], {}, {"a": 1}, True),
]


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", NO_TIMES)
async def test_a_time_that_is_none_is_refused(claim, value, tmp_path):
    assert (await ask(access(tmp_path), token(**{claim: value}))).status == 401


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": [POD]},
        {"sub": {"name": POD}},
        {"sub": 1},
        {"iss": [ISSUER]},
        {"aud": [["pushgate"]]},
        {"aud": {"pushgate": 1}},
        {"groups": "x" * 20_000},
    ],
)
async def test_claims_of_the_wrong_kind_or_size_are_refused(claims, tmp_path):
    assert (await ask(access(tmp_path), token(**claims))).status == 401


@pytest.mark.parametrize("depth", [400, 5000])
async def test_claims_nested_beyond_reason_end_nothing(depth, tmp_path):
    head = {"alg": "RS256", "kid": "rsa"}
    deep = b"[" * depth + b"]" * depth
    usual = json.dumps({"iss": ISSUER, "aud": "pushgate", "sub": POD, "exp": int(NOW) + 60})
    payload = usual[:-1].encode() + b', "deep": ' + deep + b"}"
    signed = jws.serialize_compact(head, payload, RSA, algorithms=["RS256"])
    verdict = await ask(access(tmp_path), signed)
    assert verdict is None or verdict.status == 401
    if depth == 5000 and sys.version_info < (3, 14):  # from then on, json reads as deep as it can
        assert verdict is not None


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "x" * 9000},
        {"kid": None},
        {"kid": ["rsa"]},
        {"kid": {"rsa": 1}},
        {"kid": 7},
        {"crit": ["x"]},
        {"alg": ["RS256"]},
        {"alg": {}},
        {"b64": False, "crit": ["b64"]},
        {"deep": nested(300)},
    ],
)
async def test_an_absurd_header_is_refused(header, tmp_path):
    signed = token()
    head = json.dumps({"alg": "RS256", "kid": "rsa", **header}).encode()
    forged = base64.urlsafe_b64encode(head).decode().rstrip("=") + signed[signed.index(".") :]
    assert (await ask(access(tmp_path), forged)).status == 401


async def test_a_key_of_somebody_else_does_not_sign_for_the_issuer(tmp_path):
    forger = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
    assert (await ask(access(tmp_path), token(forger))).status == 401


async def test_the_public_key_is_no_shared_secret(tmp_path):
    """The classic forgery: HS256, signed with the public key that everybody has."""
    claims = token().split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').decode()
    for public in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        digest = hmac.digest(public, f"{head}.{claims}".encode(), "sha256")
        signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert (await ask(access(tmp_path), f"{head}.{claims}.{signature}")).status == 401


async def test_a_token_without_signature_is_refused(tmp_path):
    head, payload, _ = token().split(".")
    unsigned = "eyJhbGciOiJub25lIn0"
    for forged in (f"{unsigned}.{payload}.", f"{head}.{payload}.", f"{head}.{payload}", ""):
        assert (await ask(access(tmp_path), forged)).status == 401


async def test_a_verified_token_is_believed_until_it_expires(tmp_path):
    gate = access(tmp_path)
    assert await ask(gate, token()) is None
    headers = [(b"authorization", b"Bearer " + token().encode())]
    await gate.admit(headers, None, Permission.PUSH, ["backup"])
    with pytest.raises(StopIteration) as ended:  # without waiting for anything
        gate.admit(headers, None, Permission.PUSH, ["backup"]).send(None)
    assert ended.value.value is None
    gate._clock = lambda: NOW + 91
    assert (await gate.admit(headers, None, Permission.PUSH, ["backup"])).status == 401


RULE = ClaimRule(claim="sub", value="*", allow=("push",))


async def test_keys_may_stand_in_the_configuration(tmp_path):
    """They are public, and a file less to mount."""
    held = json.dumps(jwks(RSA))
    text = f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks: {held}{RULES}"
    gate = Access(parse(text.encode(), base=tmp_path), clock=lambda: NOW)
    assert await ask(gate, token()) is None


def verifier(held: str) -> JwtVerifier:
    return JwtVerifier(
        JwtIssuer(
            issuer=ISSUER, audience="pushgate", permissions=(RULE,), jwks=held, jwks_file="keys"
        )
    )


SECRET = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


@pytest.mark.parametrize("held", ["", "[]", '{"keys": []}', '{"keys": [1]}', '{"keys": 1}', SECRET])
def test_a_key_set_without_public_keys_is_refused(held):
    with pytest.raises(StartupError, match=r"jwks_file of .*: (not JSON|contains no JSON)"):
        verifier(held)


async def test_a_kind_of_key_we_do_not_know_does_not_harm_the_others():
    held = json.loads(jwks(RSA))
    held["keys"].insert(0, {"kty": "FUTURE", "kid": "x"})
    assert await verifier(json.dumps(held)).verify(token().encode(), NOW) is not None


OURS = verifier(jwks(RSA))


@given(st.binary() | st.builds(b".".join, st.lists(st.binary(), max_size=4)))
def test_any_bytes_are_refused(junk):
    assert asyncio.run(OURS.verify(junk, NOW)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just(ISSUER),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk"]), JSON),
    st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "sub"]), JSON),
)
def test_any_unsigned_token_is_refused(head, claims):
    parts = (json.dumps(part).encode() for part in (head, {"iss": ISSUER, **claims}))
    forged = b".".join([*map(base64.urlsafe_b64encode, parts), b"c2ln"])
    assert asyncio.run(OURS.verify(forged, NOW)) is None


class KeyServer:
    """Serves key sets by HTTPS. ``body`` is what it says; empty: it is out of order."""

    def __init__(self) -> None:
        self.body = jwks(RSA).encode()
        self.encoding = ""
        self.redirect = ""
        self.requests: list[str] = []
        self.answering = threading.Event()
        self.answering.set()
        self.url = ""

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        request.send_response(302 if self.redirect else 200 if self.body else 500)
        if self.encoding:
            request.send_header("Content-Encoding", self.encoding)
        if self.redirect:
            request.send_header("Location", self.redirect)
        request.end_headers()
        request.wfile.flush()
        self.answering.wait(10)
        request.wfile.write(self.body)


@pytest.fixture
def pki(tmp_path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
def keys(pki) -> Iterator[KeyServer]:
    keys = KeyServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the client has seen enough
                keys.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    pair = pki.issue("jwks", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            keys.url = f"https://localhost:{server.server_address[1]}/keys"
            yield keys
        finally:
            keys.answering.set()
            server.shutdown()
            thread.join()


_FETCH = """
import asyncio, concurrent.futures.thread, sys
from pathlib import Path
from pushgate.server.access.config_file import parse
from pushgate.server.access.credentials import CredentialStore

text, folder, token = sys.argv[1:]
store = CredentialStore(parse(text.encode(), base=Path(folder)))
before = {*sys.modules}
assert asyncio.run(store.authenticate_bearer(token.encode(), 1_000_000.0))
print(*sorted({*sys.modules} - before))
"""


def test_the_first_token_imports_nothing(keys, tmp_path):
    command = [sys.executable, "-c", _FETCH, fetching(keys.url), str(tmp_path), token()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def fetching(url: str, authority: str = "ca.pem") -> str:
    ca = f"    jwks_ca_file: {authority}\n" if authority else ""
    return f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_url: {url}\n{ca}{RULES}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(keys, clock, tmp_path) -> Access:
    return Access(parse(fetching(keys.url).encode(), base=tmp_path), clock=clock)


FAILED = "could not fetch the keys of a JWT issuer"


def reasons(caplog) -> list[str]:
    return [record.err for record in caplog.records if record.message == FAILED]


async def test_keys_come_from_a_url_and_are_fetched_again_when_one_is_not_known(keys, gate, clock):
    assert (await ask(gate, token(iss="https://else.example"))).status == 401
    assert keys.requests == []
    assert await asyncio.gather(*(ask(gate, token()) for _ in range(5))) == [None] * 5
    assert keys.requests == ["/keys"]

    keys.body = jwks(EC).encode()
    rotated = token(EC, "ES256", exp=int(NOW) + 7200)
    assert (await ask(gate, rotated)).status == 401
    assert len(keys.requests) == 1  # not again so soon
    clock.now += 60
    assert await ask(gate, rotated) is None
    assert len(keys.requests) == 2

    keys.body = b""
    clock.now += 3601
    assert await ask(gate, rotated) is None  # no answer: the keys we have stay
    assert len(keys.requests) == 3


async def test_keys_may_come_compressed(keys, gate):
    keys.body, keys.encoding = gzip.compress(keys.body), "gzip"
    assert await ask(gate, token()) is None


async def test_without_any_key_the_next_fetch_is_soon(keys, gate, clock):
    good, keys.body = keys.body, b""
    assert (await ask(gate, token())).status == 401
    keys.body = good
    assert (await ask(gate, token())).status == 401
    assert len(keys.requests) == 1
    clock.now += 5
    assert await ask(gate, token()) is None


async def test_a_clock_set_back_does_not_keep_keys_for_ever(keys, gate, clock):
    assert await ask(gate, token()) is None
    clock.now -= 1e6
    assert await ask(gate, token(jti="another")) is None
    assert len(keys.requests) == 2


async def test_a_reload_keeps_the_keys_that_were_fetched(keys, tmp_path):
    path = tmp_path / "web.yml"
    later = token(exp=int(time.time()) + 600)
    path.write_text(fetching(keys.url))
    live = LiveConfig(path)
    assert await ask(live.access, later) is None
    keys.body = b""  # the key server is down from now on
    changes = [
        f"basic_auth_users: {{a: '{hashed('x')}'}}\n" + fetching(keys.url),
        fetching(keys.url).replace("jobs: [", "jobs: [another, "),
        fetching(keys.url).replace("jwt:", "exempt_health_endpoints: true\njwt:"),
    ]
    for text in changes:
        path.write_text(text)
        assert await live.poll(at_once=True)
        assert live.error is None
        assert await ask(live.access, later) is None
    assert keys.requests == ["/keys"]


async def test_keys_that_one_authority_vouched_for_are_not_those_of_another(keys, tmp_path):
    path = tmp_path / "web.yml"
    path.write_text(fetching(keys.url))
    live = LiveConfig(path)
    later = token(exp=int(time.time()) + 600)
    assert await ask(live.access, later) is None
    (tmp_path / "other").mkdir()
    Pki(tmp_path / "other")
    path.write_text(fetching(keys.url, "other/ca.pem"))
    assert await live.poll(at_once=True)
    assert live.error is None
    assert (await ask(live.access, later)).status == 401


async def test_a_flood_of_unknown_keys_costs_one_fetch_and_holds_nobody(
    keys, gate, clock, monkeypatch
):
    monkeypatch.setattr(jwt_module, "_WAIT_SECONDS", 0.2)
    assert await ask(gate, token()) is None
    clock.now += 60
    keys.answering.clear()  # and a key server that does not answer
    strangers = [token(header={"kid": f"unknown {n}"}) for n in range(100)]
    flood = asyncio.gather(*(ask(gate, stranger) for stranger in strangers))
    while len(keys.requests) < 2:  # noqa: ASYNC110 - a thread adds to them
        await asyncio.sleep(0.001)
    assert await ask(gate, token(jti="another")) is None
    assert {refusal.status for refusal in await flood} == {401}
    assert {(await ask(gate, stranger)).status for stranger in strangers[:3]} == {401}
    keys.answering.set()
    assert {(await ask(gate, stranger)).status for stranger in strangers} == {401}
    assert len(keys.requests) == 2


async def test_a_fetch_has_a_deadline_for_all_of_it(keys, gate, monkeypatch, caplog):
    monkeypatch.setattr(jwt_module, "_FETCH_SECONDS", 0.3)

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for byte in keys.body:  # a minute or so, and never silent
            request.wfile.write(bytes([byte]))
            time.sleep(0.1)

    keys.answer = drip
    assert (await ask(gate, token())).status == 401
    while not reasons(caplog):  # noqa: ASYNC110 - the fetch ends beside those who wait for it
        await asyncio.sleep(0.001)
    assert reasons(caplog) == ["no complete response within 0.3 s"]


BOMB = gzip.compress(b" " * (50 << 20), 1)


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"", "", "500 Internal Server Error"),
        (b"<html>", "", "not JSON"),
        (b"[" * 100_000, "", "not JSON"),
        (b"{}", "", "contains no JSON web key set with a public key"),
        (b" " * (2 << 20), "", "the response is larger than 1048576 bytes"),
        (BOMB, "gzip", "the response is larger than 1048576 bytes after decompression"),
        (b"nonsense" * 3, "gzip", "gzip: invalid header"),
        (b"nonsense", "br", 'unsupported Content-Encoding "br"'),
    ],
)
async def test_the_log_says_why_keys_could_not_be_fetched(
    keys, gate, caplog, body, encoding, reason
):
    keys.body, keys.encoding = body, encoding
    assert (await ask(gate, token())).status == 401
    [told] = reasons(caplog)
    assert reason in told
    assert "--limit" not in told


async def test_a_redirect_of_the_keys_is_not_followed(keys, gate, caplog):
    keys.redirect = "https://else.example/"
    assert (await ask(gate, token())).status == 401
    assert "302 Found" in reasons(caplog)[0]
    assert keys.requests == ["/keys"]


async def test_keys_are_not_taken_from_whom_nobody_trusts(keys, tmp_path, caplog):
    gate = Access(parse(fetching(keys.url, "").encode(), base=tmp_path), clock=lambda: NOW)
    assert (await ask(gate, token())).status == 401
    assert keys.requests == []
    assert "certificate verify failed" in reasons(caplog)[0]


@pytest.mark.parametrize("content", ["nonsense", ""])
def test_an_authority_of_the_keys_that_is_none_is_refused_at_start(content, tmp_path):
    (tmp_path / "ca.pem").write_text(content)
    text = (
        f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_url: https://x/\n"
        f"    jwks_ca_file: ca.pem{RULES}"
    )
    with pytest.raises(
        StartupError, match=f"jwks_ca_file of {ISSUER} contains no usable certificate"
    ):
        Access(parse(text.encode(), base=tmp_path))


async def test_a_key_server_that_is_down_lets_nobody_in(tmp_path, caplog):
    url = "https://127.0.0.1:1/"
    gate = Access(parse(fetching(url, "").encode(), base=tmp_path), clock=lambda: NOW)
    assert (await ask(gate, token())).status == 401
    assert "Connect call failed ('127.0.0.1', 1)" in reasons(caplog)[0]


@pytest.mark.parametrize(
    "url", ["https://[/", "https:///x", "https://h:99999/", "https://h:x/", "http://h/", "h"]
)
def test_a_url_that_is_none_ends_the_start(url, tmp_path):
    with pytest.raises(StartupError, match="jwks_url must be an https URL"):
        parse(fetching(f'"{url}"', "").encode(), base=tmp_path)


def test_the_rules_are_those_of_the_file(tmp_path):
    first = access(tmp_path).config.jwt[0].permissions[0]
    assert (first.path, first.allow) == (("sub",), ("push",))
    assert first.jobs == ("backup*",)
