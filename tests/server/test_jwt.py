import asyncio
import base64
import hmac
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from pushgate.errors import StartupError
from pushgate.server.auth import Access, Refusal
from pushgate.server.jwt import JwtVerifier
from pushgate.server.webconfig import Grant, JwtIssuer, Permission, parse
from tests.server.certificates import Pki

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
    return await access.admit(headers, None, permission, job)


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
    await gate.admit(headers, None, Permission.PUSH, "backup")
    assert gate.admit_now(headers, None, Permission.PUSH, "backup") is None
    gate._clock = lambda: NOW + 91
    assert (await gate.admit(headers, None, Permission.PUSH, "backup")).status == 401


def verifier(held: str) -> JwtVerifier:
    return JwtVerifier(JwtIssuer(issuer=ISSUER, audience="pushgate", jwks=held.encode()))


SECRET = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


@pytest.mark.parametrize("held", ["", "[]", '{"keys": []}', '{"keys": [1]}', '{"keys": 1}', SECRET])
def test_a_key_set_without_public_keys_is_refused(held):
    with pytest.raises(StartupError, match="holds no JSON web key set with a public key"):
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


@contextmanager
def jwks_server(pki: Pki) -> Iterator[tuple[str, list[str], list[str]]]:
    """Serve, by HTTPS, the last of the key sets in the list; yield URL, list, and requests."""
    sets: list[str] = [jwks(RSA)]
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200 if sets[-1] else 500)
            self.end_headers()
            self.wfile.write(sets[-1].encode())

        def log_message(self, *_: object) -> None:
            pass

    pair = pki.issue("jwks", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}/keys", sets, requests
        finally:
            server.shutdown()
            thread.join()


async def test_keys_come_from_a_url_and_are_fetched_again_when_one_is_not_known(tmp_path):
    pki = Pki(tmp_path)
    with jwks_server(pki) as (url, sets, requests):
        text = (
            f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_url: {url}\n"
            f"    jwks_ca_file: ca.pem{RULES}"
        )
        now = [NOW]
        gate = Access(parse(text.encode(), base=tmp_path), clock=lambda: now[0])
        assert (await ask(gate, token(iss="https://else.example"))).status == 401
        assert requests == []
        assert await asyncio.gather(*(ask(gate, token()) for _ in range(5))) == [None] * 5
        assert requests == ["/keys"]

        sets.append(jwks(EC))
        rotated = token(EC, "ES256", exp=int(NOW) + 7200)
        assert (await ask(gate, rotated)).status == 401
        assert len(requests) == 1  # not again so soon
        now[0] += 60
        assert await ask(gate, rotated) is None
        assert len(requests) == 2

        sets.append("")
        now[0] += 3601
        assert await ask(gate, rotated) is None  # no answer: the keys we have stay
        assert len(requests) == 3


async def test_keys_are_not_taken_from_whom_nobody_trusts(tmp_path, caplog):
    with jwks_server(Pki(tmp_path)) as (url, _, requests):
        text = f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_url: {url}{RULES}"
        gate = Access(parse(text.encode(), base=tmp_path), clock=lambda: NOW)
        assert (await ask(gate, token())).status == 401
    assert requests == []
    assert "could not fetch the keys of a JWT issuer" in caplog.text


def test_an_authority_of_the_keys_that_is_none_is_refused_at_start(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    text = (
        f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_url: https://x/\n"
        f"    jwks_ca_file: ca.pem{RULES}"
    )
    with pytest.raises(StartupError, match=f"jwks_ca_file of {ISSUER} has no certificate"):
        Access(parse(text.encode(), base=tmp_path))


@pytest.mark.parametrize("url", ["https://[/", "https:///x", "https://127.0.0.1:99999/"])
async def test_a_url_that_leads_nowhere_lets_nobody_in(url, tmp_path, caplog):
    text = f"jwt:\n  - issuer: {ISSUER}\n    audience: pushgate\n    jwks_url: {url}{RULES}"
    gate = Access(parse(text.encode(), base=tmp_path), clock=lambda: NOW)
    assert (await ask(gate, token())).status == 401
    assert "could not fetch the keys of a JWT issuer" in caplog.text


def test_the_rules_are_those_of_the_file(tmp_path):
    first = access(tmp_path).config.jwt[0].rules[0]
    assert first.grant == Grant(frozenset({Permission.PUSH}), ("backup*",))
