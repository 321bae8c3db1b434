import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import StartupError
from pushgate.server.access.config import Grant, Permissions, RateLimit, WebConfig
from pushgate.server.access.config_file import load, parse
from pushgate.server.access.tls import ClientAuth, server_context
from pushgate.server.document import Nanoseconds, Whole
from tests.server.access.certificates import Pki, hashed, sha256

HERE = Path("/nowhere")
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


def refusal(text: str, base: Path = HERE) -> str:
    with pytest.raises(StartupError) as caught:
        parse(text.encode(), base=base)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "~", "# nothing\n", "{}", "tls_server_config:\n"])
def test_an_empty_file_turns_nothing_on(text):
    assert parse(text.encode(), base=HERE) == WebConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo: 1", "line 1: unknown key foo"),
        (
            "basic_auth_user: {}",
            "line 1: unknown key basic_auth_user, did you mean basic_auth_users?",
        ),
        ("[]", "line 1: expected a mapping, got a list"),
        ("text", "line 1: expected a mapping, got a string"),
        ("[a, b]: 1", "line 1: a key must be a string"),
        ("tls_server_config:\n  foo: 1\n", "line 2: tls_server_config: unknown key foo"),
        (
            "tls_server_config:\n  cert: a\n  key_fil: b\n",
            "line 3: tls_server_config: unknown key key_fil, did you mean key_file?",
        ),
        (
            "tls_server_config:\n  min_version: TLS12\n  min_version: TLS13\n",
            "line 3: the key min_version is given twice",
        ),
        (
            "tls_server_config: {}\ntls_server_config: {}\n",
            "line 2: the key tls_server_config is given twice",
        ),
        ("basic_auth_users:\n  a: b\n  a: c\n", "line 3: the key a is given twice"),
        ("http_server_config:\n  foo: 1\n", "line 2: http_server_config: unknown key foo"),
        (
            "http_server_config:\n  http2: abc\n",
            "line 2: http_server_config.http2: expected true or false",
        ),
        (
            "http_server_config:\n  http2: 'true'\n",
            "line 2: http_server_config.http2: expected true or false",
        ),
        (
            "http_server_config:\n  headers:\n    - a\n",
            "line 2: http_server_config.headers: expected a mapping, got a list",
        ),
        (
            "rate_limit:\n  interval: abc\n",
            'line 2: rate_limit.interval: time: invalid duration "abc"',
        ),
        (
            'rate_limit:\n  interval: "5"\n',
            'line 2: rate_limit.interval: time: missing unit in duration "5"',
        ),
        ("rate_limit:\n  burst: abc\n", "line 2: rate_limit.burst: expected a whole number"),
        ("rate_limit:\n  burst: .nan\n", "line 2: rate_limit.burst: expected a whole number"),
        ("rate_limit:\n  burst: [1]\n", "line 2: rate_limit.burst: expected a whole number"),
        (f"rate_limit: {{burst: {2**63}}}", "line 1: rate_limit.burst: the number is too large"),
        (
            "tls_server_config:\n  cert_file: [a]\n",
            "line 2: tls_server_config.cert_file: expected a string, got a list",
        ),
        (
            "tls_server_config:\n  cipher_suites:\n    - [a]\n",
            "line 3: tls_server_config.cipher_suites[0]: expected a string, got a list",
        ),
        (
            "basic_auth_users:\n  a: [1]\n",
            "line 2: basic_auth_users.a: expected a string, got a list",
        ),
        ("basic_auth_users: [1]\n", "line 1: basic_auth_users: expected a mapping, got a list"),
        (
            "bearer_tokens:\n  - {name: a, token_file: b}\n  - {sha256: x}\n",
            "line 3: bearer_tokens[1]: name is missing",
        ),
        (
            f"basic_auth_users: {{a: {HASH}}}\npermissions:\n  users:\n    a:\n    - {{job: x}}\n",
            "line 5: permissions.users.a[0]: unknown key job, did you mean jobs?",
        ),
    ],
)
def test_what_has_the_wrong_shape_is_told_with_line_and_name(text, complaint):
    assert refusal(text) == complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tls_server_config:\n  cert_file: c\n", "missing one of key or key_file"),
        ("tls_server_config:\n  key: k\n", "missing one of cert or cert_file"),
        ("tls_server_config:\n  client_auth_type: foo\n", "missing one of cert or cert_file"),
        ("tls_server_config: {cert: c, key: k, client_auth_type: foo}", "invalid ClientAuth: foo"),
        (
            "tls_server_config: {cert: c, key: k, client_ca: x}",
            "client CA's have been configured without a Client Auth Policy",
        ),
        (
            "tls_server_config: {min_version: TLS14}",
            "unknown TLS version: TLS14; use TLS10 or TLS11 or TLS12 or TLS13",
        ),
        ("tls_server_config: {cipher_suites: [foo]}", "unknown cipher: foo"),
        (
            "tls_server_config: {cipher_suites: [TLS_AES_128_GCM]}",
            "unknown cipher: TLS_AES_128_GCM; use TLS_AES_128_GCM_SHA256",
        ),
        (
            "tls_server_config: {curve_preferences: [foo]}",
            "unknown curve: foo; use CurveP256 or CurveP384 or CurveP521 or X25519",
        ),
    ],
)
def test_tls_that_cannot_be_done_is_refused_in_the_words_of_the_toolkit(text, complaint):
    assert refusal(text) == f"line 1: tls_server_config: {complaint}"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            "cert_file: /x, key: k",
            "failed to read cert_file (/x): open /x: no such file or directory",
        ),
        (
            "cert: c, key_file: x",
            "failed to read key_file (/nowhere/x): open /nowhere/x: no such file or directory",
        ),
    ],
)
def test_a_file_that_is_named_and_missing_is_refused(settings, complaint):
    assert refusal(f"tls_server_config: {{{settings}}}") == complaint


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("X-Foo", "a", 'HTTP header "X-Foo" can not be configured'),
        (
            "X-Frame-Options",
            "DENY",
            (
                'invalid value for X-Frame-Options. Expected one of: ["deny" "sameorigin"],'
                ' but got: "DENY"'
            ),
        ),
        (
            "X-Content-Type-Options",
            "",
            'invalid value for X-Content-Type-Options. Expected one of: ["nosniff"], but got: ""',
        ),
    ],
)
def test_headers_are_those_of_the_toolkit(name, value, complaint):
    text = f"http_server_config:\n  headers:\n    {name}: {value}\n"
    assert refusal(text) == f"line 3: http_server_config.headers.{name}: {complaint}"


@pytest.mark.parametrize(
    "hashed",
    [
        "b",
        "",
        f"'%{HASH[1:]}'",
        f"'$3{HASH[2:]}'",
        HASH.replace("$10$", "$03$"),
        HASH.replace("$10$", "$32$"),
        HASH[:-1] + "!",
    ],
)
def test_what_is_no_bcrypt_hash_is_refused(hashed):
    assert refusal(f"basic_auth_users:\n  alice: {hashed}\n") == (
        "line 2: basic_auth_users.alice: crypto/bcrypt: not a bcrypt hash; make one with"
        " `htpasswd -nB user`"
    )


@pytest.mark.parametrize("name", ["no", "007", "1e3", "~x", "2026-11-26", "0x10", "yes", "1_000"])
def test_names_are_taken_as_they_are_written(name):
    text = (
        f"bearer_tokens: [{{name: {name}, sha256: {sha256('x')}}}]\n"
        f"basic_auth_users: {{{name}: {HASH}}}\n"
        f"permissions: {{users: {{{name}: [{{allow: [push], jobs: [{name}]}}]}}}}\n"
    )
    config = parse(text.encode(), base=HERE)
    assert config.bearer_tokens[0].name == name
    assert config.users == {name: HASH}
    assert config.permissions is not None
    assert config.permissions.users[name][0].jobs == (name,)


def test_an_empty_authority_is_not_that_of_the_system(tmp_path):
    """As a full disk leaves it. Without the key, the system's authorities would do."""
    pki = Pki(tmp_path)
    pki.issue("server", "localhost")
    (tmp_path / "empty.pem").write_text("")
    text = (
        "tls_server_config: {cert_file: server.pem, key_file: server.key,"
        " client_ca_file: empty.pem, client_auth_type: RequireAndVerifyClientCert}"
    )
    config = parse(text.encode(), base=tmp_path)
    assert config.tls is not None
    with pytest.raises(StartupError, match="client_ca contains no usable certificate"):
        server_context(config.tls)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(StartupError, match=r"^open .*/web.yml: no such file or directory$"):
        load(tmp_path / "web.yml")


def test_a_pipe_or_a_device_is_not_a_file(tmp_path):
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        if not path.exists():
            os.mkfifo(path)
        with pytest.raises(StartupError, match=f"^read {path}: not a regular file$"):
            load(path)


def test_a_file_beyond_reason_is_not_read(tmp_path):
    path = tmp_path / "web.yml"
    with path.open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(StartupError, match=r"^read .*: larger than 16777216 bytes$"):
        load(path)


def test_a_directory_is_not_a_file(tmp_path):
    with pytest.raises(StartupError, match=r"^read .*: is a directory$"):
        load(tmp_path)


def test_files_are_found_beside_the_configuration_and_win_over_inline_text(tmp_path):
    pair = Pki(tmp_path).issue("server", "localhost")
    path = tmp_path / "web.yml"
    path.write_text(
        "tls_server_config:\n  cert: ignored\n  cert_file: server.pem\n  key_file: server.key\n"
    )
    config = load(path)
    assert config.tls is not None
    assert config.tls.cert == pair.certificate.read_text()
    assert config.files == (path, pair.certificate, pair.key)


def test_every_field_of_the_toolkit_is_read():
    config = parse(
        f"""
tls_server_config:
  cert: C
  key: K
  client_ca: A
  client_auth_type: RequireClientCert
  client_allowed_sans: [a.example, 10.0.0.1]
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
  prefer_server_cipher_suites: yes
http_server_config:
  http2: off
  headers:
    Strict-Transport-Security: max-age=1
    X-XSS-Protection: ""
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1m30s
  burst: 5
""".encode(),
        base=HERE,
    )
    assert config.tls is not None
    assert config.tls.client_auth is ClientAuth.REQUIRE_ANY
    assert config.tls.client_allowed_sans == ("a.example", "10.0.0.1")
    assert config.tls.min_version == config.tls.max_version
    assert config.tls.curve_preferences == ("X25519",)
    assert config.headers == {"Strict-Transport-Security": "max-age=1", "X-XSS-Protection": ""}
    assert config.users == {"alice": HASH}
    assert config.rate_limit == RateLimit(interval=Nanoseconds(90_000_000_000), burst=Whole(5))


def test_a_header_that_yaml_folds_is_one_line():
    text = "http_server_config:\n  headers:\n    Content-Security-Policy: |\n      a;\n      b\n"
    assert parse(text.encode(), base=HERE).headers == {"Content-Security-Policy": "a; b"}


def test_a_header_holds_no_control_characters():
    header = 'Content-Security-Policy: "a\\0b"'
    assert "Only printable ASCII" in refusal(f"http_server_config: {{headers: {{{header}}}}}")


def test_settings_alone_do_not_turn_tls_on():
    assert parse(b"tls_server_config: {min_version: TLS13}", base=HERE).tls is None


@pytest.mark.parametrize(
    ("interval", "nanoseconds"), [("5", 5), ("1.5", 1), ("-1s", -1_000_000_000), ("0x10", 16)]
)
def test_an_interval_without_a_unit_is_in_nanoseconds(interval, nanoseconds):
    config = parse(f"rate_limit: {{interval: {interval}, burst: 1}}".encode(), base=HERE)
    assert config.rate_limit == RateLimit(interval=Nanoseconds(nanoseconds), burst=Whole(1))


def test_no_interval_is_no_limit():
    assert parse(b"rate_limit: {burst: 3}", base=HERE).rate_limit is None


def test_tokens_come_from_a_file_or_as_a_digest(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    text = f"bearer_tokens: [{{name: a, token_file: token}}, {{name: b, sha256: {sha256('x')}}}]"
    config = parse(text.encode(), base=tmp_path)
    assert [token.sha256 for token in config.bearer_tokens] == [
        sha256("secret"),
        sha256("x"),
    ]


def test_permissions_are_words_or_limited_to_jobs():
    text = f"""
basic_auth_users: {{alice: {HASH}}}
permissions:
  users:
    alice:
      - read
      - allow: [push, delete]
        jobs: ["team-a-*"]
"""
    assert parse(text.encode(), base=HERE).permissions == Permissions(
        users={
            "alice": (
                Grant(allow=("read",)),
                Grant(allow=("push", "delete"), jobs=("team-a-*",)),
            )
        }
    )


JWT = "issuer: i, audience: a, jwks_url: 'https://x/'"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bearer_tokens: [{sha256: x}]", "bearer_tokens[0]: name is missing"),
        ("bearer_tokens: [{name: '', sha256: x}]", "every token needs a name"),
        ("bearer_tokens: [{name: ci}]", 'bearer_tokens[0]: "ci" needs one of token_file or sha256'),
        ("bearer_tokens: [{name: ci, sha256: abc}]", "not the token"),
        (
            "bearer_tokens: [{name: ci, token: abc}]",
            "bearer_tokens[0]: unknown key token, did you mean",
        ),
        (
            f"bearer_tokens: [{{name: c, sha256: {'a' * 64}}}, {{name: c, sha256: {'b' * 64}}}]",
            'the name "c" is given twice',
        ),
        ("jwt: [{issuer: i, audience: a}]", "jwt[0]: permissions is missing"),
        (
            "jwt: [{issuer: '', audience: a, permissions: []}]",
            "issuer, audience and permissions are required",
        ),
        (
            "jwt: [{issuer: i, audience: a, permissions: [{claim: sub, value: x, allow: [push]}]}]",
            'jwt[0]: "i" needs one of jwks_file or jwks_url',
        ),
        (
            f"jwt: [{{{JWT}, permissions: [{{value: x, allow: [push]}}]}}]",
            "jwt[0].permissions[0]: claim is missing",
        ),
        (
            (
                f"jwt: [{{{JWT.replace('https', 'http')},"
                " permissions: [{claim: sub, value: x, allow: [push]}]}]"
            ),
            "jwks_url must be an https URL",
        ),
        (
            f"basic_auth_users: {{a: {HASH}}}\npermissions: {{users: {{a: [fly]}}}}",
            "permissions.users.a[0]: unknown permission: fly; use push or delete or scrape",
        ),
        (
            f"basic_auth_users: {{a: {HASH}}}\npermissions: {{users: {{a: [{{jobs: [x]}}]}}}}",
            "permissions.users.a[0]: allow is missing",
        ),
        (
            (
                f"basic_auth_users: {{a: {HASH}}}\n"
                "permissions: {users: {a: [{allow: [push], jobs: }]}}"
            ),
            "`jobs` must list at least one glob",
        ),
        (
            f"basic_auth_users: {{a: {HASH}}}\npermissions: {{users: {{bob: [push]}}}}",
            'line 2: permissions.users: there is no "bob"',
        ),
        ("permissions: {}", "permissions: no identity can have them"),
        (
            "permissions: {certificates: {a: [push]}}",
            "permissions.certificates: this needs a client_auth_type that verifies",
        ),
    ],
)
def test_our_own_keys_are_as_strict(text, complaint):
    assert complaint in refusal(text)


def test_permissions_without_content_permit_nothing():
    text = f"basic_auth_users: {{a: {HASH}}}\npermissions:\n"
    assert parse(text.encode(), base=HERE).permissions == Permissions()


def test_no_secret_shows_in_a_repr(tmp_path):
    (tmp_path / "token").write_text("t0ps3cret")
    text = (
        f"basic_auth_users: {{a: {HASH}}}\ntls_server_config: {{cert: CERT, key: PRIVATE}}\n"
        "bearer_tokens: [{name: ci, token_file: token}]\n"
    )
    shown = repr(parse(text.encode(), base=tmp_path))
    assert HASH not in shown
    assert "PRIVATE" not in shown
    assert "t0ps3cret" not in shown
    assert sha256("t0ps3cret") not in shown


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users: t0ps3cret",
        "basic_auth_users: {a: t0ps3cret}",
        "bearer_tokens: t0ps3cret",
        "bearer_tokens: [t0ps3cret]",
        "bearer_tokens: [{name: a, sha256: t0ps3cret}]",
    ],
)
def test_no_secret_shows_in_a_complaint(text):
    assert "t0ps" not in refusal(text)


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(StartupError):
        parse(text.encode(errors="replace"), base=HERE)


_KEYS = st.sampled_from(
    [
        *("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit", "jwt"),
        *("bearer_tokens", "permissions", "users", "tokens", "certificates", "cert", "key"),
        *("client_auth_type", "cipher_suites", "headers", "interval", "burst", "name", "sha256"),
        *("issuer", "audience", "jwks_url", "claim", "value", "allow", "jobs"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
)


@given(st.dictionaries(_KEYS, _VALUES))
def test_any_structure_is_read_or_refused(document):
    with contextlib.suppress(StartupError):
        parse(json.dumps(document).encode(), base=HERE)


def test_passwords_hashed_by_others_are_taken():
    assert parse(f"basic_auth_users: {{a: {hashed('x')}}}".encode(), base=HERE).users
