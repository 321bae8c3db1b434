import asyncio
import base64
import threading
from pathlib import Path

import pytest

from pushgate.server.access.auth import Access, Refusal, TokenBucket
from pushgate.server.access.config import Permission, RateLimit, WebConfig
from pushgate.server.access.config_file import parse
from pushgate.server.access.credentials import CredentialStore
from pushgate.server.document import Nanoseconds, Whole
from tests.server.access.certificates import Pki, hashed, sha256

pytestmark = pytest.mark.anyio

ALICE = f"basic_auth_users: {{alice: {hashed('wonder')}}}\n"
CI = f"bearer_tokens: [{{name: ci, sha256: {sha256('t0ken')}}}]\n"
PUSH, DELETE, SCRAPE, READ, ADMIN, HEALTH, ANY = Permission
UNAUTHORIZED = Refusal(401, "Unauthorized", ((b"WWW-Authenticate", b"Basic"),))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def config(text: str, base: Path = Path("/nowhere")) -> WebConfig:
    return parse(text.encode(), base=base)


def basic(user: str, password: str, scheme: str = "Basic") -> list[tuple[bytes, bytes]]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return [(b"host", b"x"), (b"authorization", f"{scheme} {pair}".encode())]


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


BY_ALICE, BY_IDLE, BY_CI = basic("alice", "wonder"), basic("idle", "idle"), bearer("t0ken")


def shows(*names: str) -> dict[str, object]:
    """Return what getpeercert() says of a certificate with DNS *names*."""
    return {"subjectAltName": tuple(("DNS", name) for name in names)}


def at_once(admission):
    """Return the verdict of an admission that may not wait for anything."""
    with pytest.raises(StopIteration) as ended:
        admission.send(None)
    return ended.value.value


async def push(access: Access, headers=(), certificate=None, job: str = "backup"):
    return await access.admit(headers, certificate, PUSH, [job])


def test_without_configuration_all_is_open_and_nothing_is_asked():
    access = Access(WebConfig())
    assert access.open
    assert at_once(access.admit((), None, ADMIN)) is None


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_the_right_password_comes_in(scheme):
    assert await push(Access(config(ALICE)), basic("alice", "wonder", scheme)) is None


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="nothing"),
        pytest.param(basic("alice", "wrong"), id="wrong password"),
        pytest.param(basic("bob", "wonder"), id="unknown user"),
        pytest.param(basic("", ""), id="empty"),
        pytest.param(basic("alice", "wonder", "Bearer"), id="another scheme"),
        pytest.param(basic("alice", "wonder", "Basic "), id="two blanks"),
        pytest.param([(b"authorization", b"Basic %%%")], id="not base64"),
        pytest.param([(b"authorization", b"Basic YWxpY2U=")], id="no colon"),
        pytest.param([(b"authorization", b"Basic YWxpY2U6d29uZGVy=")], id="one padding too many"),
        pytest.param([(b"authorization", b"Basic")], id="no parameter"),
        pytest.param([(b"authorization", b"")], id="empty header"),
        pytest.param([(b"authorization", b"Basic //86eA==")], id="user not UTF-8"),
    ],
)
async def test_who_is_not_known_gets_401_as_from_the_toolkit(headers):
    assert await push(Access(config(ALICE)), headers) == UNAUTHORIZED


async def test_blanks_behind_the_credentials_are_no_part_of_them():
    host, (name, value) = BY_ALICE
    assert await push(Access(config(ALICE)), [host, (name, value + b" \t")]) is None


async def test_the_first_authorization_header_counts():
    access = Access(config(ALICE))
    assert await push(access, basic("alice", "no") + BY_ALICE) == UNAUTHORIZED


async def test_a_password_may_hold_colons_and_be_too_long_for_bcrypt():
    long = "a:b" * 40
    access = Access(config(f"basic_auth_users: {{alice: {hashed(long[:72])}}}"))
    assert await push(access, basic("alice", long)) is None


async def test_a_verified_pair_is_admitted_at_once_the_next_time():
    access = Access(config(ALICE))
    assert await push(access, BY_ALICE) is None
    assert at_once(push(access, BY_ALICE)) is None


async def test_the_same_password_asked_for_at_once_is_computed_once(monkeypatch):
    access = Access(config(ALICE))
    computed = []
    check_password = access.store.check_password

    def counting(user, password):
        computed.append(user)
        return check_password(user, password)

    monkeypatch.setattr(access.store, "check_password", counting)
    for password, verdict in (("wonder", None), ("wrong", UNAUTHORIZED)):
        several = (push(access, basic("alice", password)) for _ in range(20))
        assert await asyncio.gather(*several) == [verdict] * 20
    assert len(computed) == 2


class Flood:
    """Clients with wrong passwords, all of which have just asked."""

    def __init__(self, access: Access, size: int, user: str = "eve", address: str = "") -> None:
        self.tasks = [
            asyncio.create_task(
                access.admit(basic(user.format(n), f"guess {n}"), None, PUSH, ["x"], address)
            )
            for n in range(size)
        ]

    async def statuses(self) -> list[int]:
        return [refusal.status for refusal in await asyncio.gather(*self.tasks)]


async def test_a_flood_of_wrong_passwords_does_not_pile_up(monkeypatch):
    access, all_have_asked = Access(config(ALICE)), threading.Event()
    check = access.store.check_password
    monkeypatch.setattr(
        access.store, "check_password", lambda *of: all_have_asked.wait(60) and check(*of)
    )
    flood = Flood(access, 300)
    # Those that may not wait are refused at once, in the same turn of the event loop.
    await asyncio.wait(flood.tasks, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    all_have_asked.set()
    statuses = await flood.statuses()
    assert statuses.count(401) == 257  # one is computed, 256 wait
    assert statuses.count(429) == 43


TWO = f"basic_auth_users: {{alice: {hashed('wonder')}, bob: {hashed('builder')}}}\n"


@pytest.mark.parametrize(
    ("user", "address"),
    [
        pytest.param("alice", "10.0.0.2", id="the same name, another address"),
        pytest.param("bob", "10.0.0.1", id="another name, the same address"),
        pytest.param("guess{}", "10.0.0.1", id="names that do not exist, the same address"),
    ],
)
async def test_a_user_never_seen_before_gets_a_turn_in_a_flood(user, address):
    access = Access(config(TWO))
    flood = Flood(access, 1000, user, address)
    await asyncio.sleep(0)
    verdict = await access.admit(BY_ALICE, None, PUSH, ["x"], "10.0.0.1")
    assert verdict is None
    assert not all(task.done() for task in flood.tasks)
    assert {401, 429} == set(await flood.statuses())


@pytest.mark.parametrize("size", [130, 1000])
async def test_a_flood_for_a_name_from_its_own_address_only_delays_it(size):
    access = Access(config(ALICE))
    flood = Flood(access, size, "alice")
    await asyncio.sleep(0)
    assert await push(access, BY_ALICE) is None
    assert sum(task.done() for task in flood.tasks) < size
    assert {429} >= set(await flood.statuses()) - {401}


async def test_a_pair_that_was_verified_does_not_wait_in_a_flood():
    access = Access(config(ALICE))
    assert await push(access, BY_ALICE) is None
    flood = Flood(access, 300, "alice")
    await asyncio.sleep(0)
    assert at_once(access.admit(BY_ALICE, None, PUSH, ["x"])) is None
    await flood.statuses()


async def test_many_clients_with_the_same_new_credentials_come_in():
    access = Access(config(ALICE))
    several = (push(access, BY_ALICE) for _ in range(1000))
    assert await asyncio.gather(*several) == [None] * 1000


async def test_after_a_reload_still_one_password_is_computed_at_a_time(monkeypatch):
    at_work, most = 0, 0
    check_password = CredentialStore.check_password

    def counting(self, user, password):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        known = check_password(self, user, password)
        at_work -= 1
        return known

    monkeypatch.setattr(CredentialStore, "check_password", counting)
    access, floods = Access(config(ALICE)), []
    for number in range(5):
        floods.append(Flood(access, 20, f"eve{number}"))
        await asyncio.sleep(0)
        access = access.successor(config(ALICE))
    for flood in floods:
        assert set(await flood.statuses()) == {401}
    assert most == 1


async def test_credentials_beyond_reason_are_refused_unseen():
    assert at_once(push(Access(config(ALICE)), basic("alice", "x" * 20_000))) == UNAUTHORIZED


async def test_an_unknown_user_costs_as_much_as_the_dearest_known():
    access = Access(config("basic_auth_users: {a: $2b$12$" + "." * 53 + f", b: {hashed('x')}}}"))
    assert access.store._absent.startswith(b"$2b$12$")


async def test_a_bearer_token_comes_in():
    access = Access(config(CI))
    assert await push(access, BY_CI) is None
    refused = Refusal(401, "Unauthorized", ((b"WWW-Authenticate", b"Bearer"),))
    assert await push(access, bearer("t0ken2")) == refused
    assert await push(access) == refused


async def test_every_scheme_that_could_help_is_offered():
    refusal = await push(Access(config(ALICE + CI)))
    assert refusal.headers == ((b"WWW-Authenticate", b"Basic"), (b"WWW-Authenticate", b"Bearer"))


WHO = f"""
basic_auth_users: {{alice: {hashed("wonder")}, idle: {hashed("idle")}}}
bearer_tokens: [{{name: ci, sha256: {sha256("t0ken")}}}]
permissions:
  users:
    alice:
      - read
      - allow: [push, delete]
        jobs: ["team-a-*", backup]
  tokens:
    ci: [scrape, {{allow: [push], jobs: ["*"]}}]
"""


@pytest.mark.parametrize(
    ("who", "permission", "job", "message"),
    [
        (BY_ALICE, PUSH, "backup", None),
        (BY_ALICE, DELETE, "team-a-x/y", None),
        (BY_ALICE, PUSH, "backups", 'user "alice" lacks permission push for job "backups"'),
        (BY_ALICE, PUSH, "x\nbackup", r'user "alice" lacks permission push for job "x\nbackup"'),
        (BY_ALICE, PUSH, None, 'user "alice" lacks permission push for every job'),
        (BY_ALICE, READ, None, None),
        (BY_ALICE, READ, "any", None),
        (BY_ALICE, SCRAPE, None, 'user "alice" lacks permission scrape for every job'),
        (BY_IDLE, ADMIN, None, 'user "idle" lacks permission admin for every job'),
        (BY_IDLE, ANY, None, None),
        (BY_IDLE, HEALTH, None, None),
        (BY_CI, SCRAPE, None, None),
        (BY_CI, PUSH, "a\nb", None),
        (BY_CI, DELETE, "x", 'token "ci" lacks permission delete for job "x"'),
    ],
)
async def test_permissions_are_by_name_and_job(who, permission, job, message):
    access = Access(config(WHO))
    verdict = await access.admit(who, None, permission, [job])
    assert verdict == (None if message is None else Refusal(403, message))
    assert await access.admit(who, None, permission, [job]) == verdict


@pytest.fixture(scope="module")
def with_tls(tmp_path_factory) -> str:
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pair = pki.issue("server", "localhost")
    return (
        f"tls_server_config: {{cert_file: {pair.certificate}, key_file: {pair.key},"
        f" client_ca_file: {pki.ca_file}, client_auth_type: VerifyClientCertIfGiven}}\n"
    )


CERTIFICATES = "permissions: {certificates: {a.example: [push], b.example: [delete]}}\n"


async def test_a_certificate_is_known_by_its_names(with_tls):
    access = Access(config(with_tls + CERTIFICATES))
    assert await push(access, certificate=shows("x.example", "a.example")) is None
    refusal = await push(access, certificate=shows("b.example"))
    assert refusal.message == 'certificate "b.example" lacks permission push for job "backup"'
    assert await push(access, certificate=shows("b.example", "a.example")) is None


async def test_where_only_certificates_are_known_no_header_is_asked_for(with_tls):
    access = Access(config(with_tls + CERTIFICATES))
    refused = Refusal(403, "a client certificate with a known name is needed")
    assert await push(access) == refused
    assert await push(access, certificate=shows("x.example")) == refused
    assert await push(access, bearer("guess"), shows("x.example")) == refused


async def test_credentials_in_the_request_win_over_the_certificate(with_tls):
    permissions = "permissions: {users: {alice: [read]}, certificates: {a.example: [push]}}\n"
    access = Access(config(with_tls + ALICE + permissions))
    assert await push(access, certificate=shows("a.example")) is None
    assert (await push(access, BY_ALICE, shows("a.example"))).status == 403
    assert (await push(access, basic("alice", "wrong"), shows("a.example"))).status == 401


async def test_without_permissions_a_certificate_does_not_replace_the_password(with_tls):
    access = Access(config(with_tls + ALICE))
    assert await push(access, certificate=shows("a.example")) == UNAUTHORIZED
    assert await push(access, BY_ALICE, shows("a.example")) is None


async def test_health_can_be_exempted():
    limit = "rate_limit: {interval: 1h, burst: 0}\n"
    strict = Access(config(ALICE))
    assert await strict.admit((), None, HEALTH) == UNAUTHORIZED
    exempt = Access(config(ALICE + limit + "exempt_health_endpoints: true\n"))
    assert at_once(exempt.admit((), None, HEALTH)) is None
    assert (await exempt.admit((), None, ANY)).status == 429


def test_the_bucket_holds_a_burst_and_refills_one_by_one():
    bucket = TokenBucket(RateLimit(interval=Nanoseconds(2_000_000_000), burst=Whole(3)), now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(now) for now in (101.0, 102.0, 103.0, 104.0)] == [False, True, False, True]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_set_back_neither_fills_nor_blocks_the_bucket():
    bucket = TokenBucket(RateLimit(interval=Nanoseconds(1_000_000_000), burst=Whole(1)), now=100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert bucket.take(51.0)


def test_a_burst_of_nothing_blocks_everything():
    bucket = TokenBucket(RateLimit(interval=Nanoseconds(1), burst=Whole(0)), now=0.0)
    assert not bucket.take(1e9)


def test_a_negative_interval_is_no_limit():
    bucket = TokenBucket(RateLimit(interval=Nanoseconds(-1), burst=Whole(0)), now=0.0)
    assert all(bucket.take(0.0) for _ in range(10))


async def test_the_limit_comes_before_the_password():
    access = Access(config(ALICE + "rate_limit: {interval: 1s, burst: 1}"), clock=Clock())
    assert await push(access) == UNAUTHORIZED
    assert await push(access, BY_ALICE) == Refusal(429, "Too Many Requests")


async def test_a_limit_alone_asks_nobody_who_they_are():
    clock = Clock()
    access = Access(config("rate_limit: {interval: 1s, burst: 1}"), clock=clock)
    assert not access.open
    assert await push(access) is None
    assert (await push(access)).status == 429
    clock.now += 1
    assert await push(access) is None


def test_response_headers_are_in_the_case_go_gives_them():
    headers = "http_server_config: {headers: {X-XSS-Protection: '', X-Frame-Options: deny}}"
    assert Access(config(headers)).headers == (
        (b"X-Xss-Protection", b""),
        (b"X-Frame-Options", b"deny"),
    )


async def test_passwords_that_still_hold_are_known_after_a_change():
    bob = f"  bob: {hashed('builder')}\n"
    alice = ALICE.replace("{", "\n  ").replace("}", "")
    before = Access(config(alice + bob))
    for headers in (BY_ALICE, basic("bob", "builder")):
        assert await push(before, headers) is None
    changed = f"  bob: {hashed('new')}\n"
    after = before.successor(config(alice + changed + "permissions: {users: {alice: [push]}}"))
    assert at_once(after.admit(BY_ALICE, None, PUSH, ["x"])) is None
    refusal = at_once(after.admit(BY_ALICE, None, DELETE, ["x"]))
    assert isinstance(refusal, Refusal)
    assert (await push(after, basic("bob", "builder"))).status == 401
    assert (await push(after, basic("bob", "new"))).status == 403


async def test_a_token_that_was_withdrawn_is_not_remembered():
    before = Access(config(ALICE + CI))
    assert await push(before, BY_CI) is None
    after = before.successor(config(ALICE))
    assert (await push(after, BY_CI)).status == 401


async def test_the_fill_of_the_limit_survives_a_change():
    limit = "rate_limit: {interval: 1h, burst: 1}\n"
    before = Access(config(limit))
    assert await push(before) is None
    assert (await push(before.successor(config(limit + ALICE)))).status == 429


async def test_no_credentials_are_kept_in_the_clear():
    access = Access(config(ALICE + CI))
    await push(access, BY_ALICE)
    await push(access, BY_CI)
    await push(access, basic("alice", "wr0ng"))
    kept = repr((vars(access), vars(access.store)))
    for secret in ("wonder", "t0ken", "wr0ng", base64.b64encode(b"alice:wonder").decode()):
        assert secret not in kept
