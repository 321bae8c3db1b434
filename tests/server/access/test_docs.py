"""docs/web-config.md: every example works, and every key is described."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from pushgate.server.access import config_file
from pushgate.server.access.auth import Access
from pushgate.server.access.config import BearerToken, ClaimRule, JwtIssuer, RateLimit
from pushgate.server.access.config_file import parse
from pushgate.server.access.credentials import CredentialStore
from pushgate.server.access.tls import CIPHERS, CURVES, VERSIONS, ClientAuth
from tests import pages
from tests.server.access.certificates import Pki

DOCS = pages.page("web-config")
MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount/"


@pytest.mark.parametrize("example", pages.blocks("web-config", "yaml"))
def test_each_configuration_is_valid(example, tmp_path):
    pki = Pki(tmp_path)
    pki.issue("server", "localhost")
    (tmp_path / "ca.crt").write_bytes(pki.ca_file.read_bytes())
    pki.ca_file.rename(tmp_path / "clients-ca.pem")
    (tmp_path / "prometheus.token").write_text("t0ken")
    access = Access(parse(example.replace(MOUNTED, "").encode(), base=tmp_path))
    assert not access.open


def test_the_complete_example_gives_each_what_it_says(tmp_path):
    Pki(tmp_path).issue("server", "localhost")
    (tmp_path / "ca.pem").rename(tmp_path / "clients-ca.pem")
    (tmp_path / "prometheus.token").write_text("t0ken")
    config = parse(pages.blocks("web-config", "yaml")[0].encode(), base=tmp_path)
    assert config.tls is not None
    assert config.tls.client_auth is ClientAuth.VERIFY_IF_GIVEN
    assert config.exempt_health_endpoints
    assert config.permissions is not None
    assert [grant.jobs for grant in config.permissions.certificates["batch.example.org"]] == [
        ("backup-*",)
    ]


def test_a_hash_is_made_as_described():
    (command,) = (example for example in pages.blocks("web-config", "sh") if "bcrypt" in example)
    made = subprocess.run(
        command.replace("python3", sys.executable),
        shell=True,
        input="wonder\n",
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,  # else it asks on the terminal of whoever runs the tests
    )
    config = parse(f"basic_auth_users: {{alice: {made.stdout.strip()}}}".encode(), base=Path())
    assert CredentialStore(config).check_password("alice", b"wonder")


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: install it")
def test_a_token_is_made_as_described():
    (command,) = (example for example in pages.blocks("web-config", "sh") if "openssl" in example)
    made = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    text = f"bearer_tokens: [{{name: a, sha256: {made.stdout.split()[0]}}}]"
    assert parse(text.encode(), base=Path()).bearer_tokens


@pytest.mark.parametrize(
    "section",
    [
        *(config_file.Top, config_file.TlsConfig, config_file.HttpServerConfig),
        *(config_file.PermissionSections, BearerToken, JwtIssuer, ClaimRule, RateLimit),
    ],
)
def test_every_key_is_described(section):
    for key in get_type_hints(section):
        assert re.search(rf"`{key}`", DOCS), key


@pytest.mark.parametrize(
    "name", [*VERSIONS, *CURVES, *CIPHERS, *(policy.value for policy in ClientAuth)]
)
def test_every_name_that_can_be_chosen_is_listed(name):
    assert f"`{name}`" in DOCS
