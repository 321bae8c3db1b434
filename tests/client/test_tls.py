import os
import shutil
import ssl
import subprocess

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from pushgate import ConfigurationError, PushConnectionError, PushGateway
from pushgate.client.tls import context_for
from tests.client.rogue import answer, rogue
from tests.named_pipes import pipe


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def context(authority, host="localhost", *, client_cert=False):
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(served)
    if client_cert:
        authority.configure_trust(served)
        served.verify_mode = ssl.CERT_REQUIRED
    return served


def test_a_private_authority_is_trusted_by_file_data_or_context(caller, authority, ca_file):
    own = ssl.create_default_context(cafile=ca_file)
    pem = ca_file.read_text()
    with rogue(answer(202), tls=context(authority)) as server:
        for options in ({"ca_file": ca_file}, {"ca_data": pem}, {"ssl_context": own}):
            gateway = caller.make(server.url, job="j", **options)
            assert caller.call(gateway, "delete").status == 202


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: install it")
def test_an_authority_may_be_in_one_of_several_directories(caller, authority, ca_file):
    subprocess.run(["openssl", "rehash", ca_file.parent], check=True)
    with rogue(answer(202), tls=context(authority)) as server:
        gateway = caller.make(server.url, job="j", ca_path=f"/no/such/directory:{ca_file.parent}")
        assert caller.call(gateway, "delete").status == 202


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_an_authority_may_come_from_a_pipe_with_comments_in_any_language(
    caller, authority, tmp_path, monkeypatch, has_memory_files
):
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create")
    pem = "# Főtanúsítvány\n".encode() + authority.cert_pem.bytes()
    with (
        pipe(tmp_path / "ca", pem, pem) as path,
        rogue(answer(202), tls=context(authority)) as server,
    ):
        gateway = caller.make(server.url, job="j", ca_file=path)
        for each in (gateway, gateway.replace(job="other")):
            assert caller.call(each, "delete").status == 202


def test_a_pipe_is_trusted_beside_the_data_and_in_place_of_the_system(caller, authority, tmp_path):
    with (
        pipe(tmp_path / "ca", trustme.CA().cert_pem.bytes()) as path,
        rogue(answer(202), tls=context(authority)) as server,
    ):
        gateway = caller.make(server.url, job="j", ca_file=path, retry=0)
        data = ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
        assert caller.call(gateway.replace(ca_data=data), "delete").status == 202
        assert len(context_for(gateway._options).get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "nothing came from the pipe in 0.1 seconds: .*/ca"),
        ([b""], "no certificate or crl found"),
        ([b"nonsense"], "no certificate or crl found"),
    ],
)
def test_a_pipe_without_an_authority_ends_in_an_error(
    caller, tmp_path, monkeypatch, pieces, reason
):
    monkeypatch.setattr("pushgate.properties.files._PIPE_SECONDS", 0.1 if not pieces else 5.0)
    with (
        pipe(tmp_path / "ca", *pieces) as path,
        pytest.raises(ConfigurationError, match=f"TLS cannot be set up: .*{reason}"),
    ):
        caller.call(caller.make("https://localhost:1", ca_file=path), "delete")


def test_verification_can_be_switched_off_for_one_gateway(caller, authority, caplog):
    from pushgate.client import tls

    tls._context.cache_clear()
    with rogue(tls=context(authority, "elsewhere.example")) as server:
        gateway = caller.make(server.url, job="j", verify=False)
        caller.call(gateway, "delete")
        caller.call(gateway, "delete")
        with pytest.raises(PushConnectionError):
            caller.call(gateway.replace(verify=True, retry=0), "delete")
    assert caplog.text.count("not verified") == 1


def test_another_name_can_be_verified(caller, authority, ca_file):
    with rogue(tls=context(authority, "elsewhere.example")) as server:
        gateway = caller.make(
            server.url, ca_file=ca_file, server_hostname="elsewhere.example", retry=0
        )
        assert caller.call(gateway, "delete").status == 200
        with pytest.raises(PushConnectionError, match="not trusted"):
            caller.call(gateway.replace(server_hostname=None), "delete")


def test_a_client_certificate_is_shown_and_read_again_when_replaced(
    caller, authority, ca_file, tmp_path
):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_identity(trustme.CA(), cert, key)
    with rogue(tls=context(authority, client_cert=True)) as server:
        gateway = caller.make(server.url, ca_file=ca_file, client_cert=(cert, key), retry=0)
        with pytest.raises(PushConnectionError):
            caller.call(gateway, "delete")
        write_identity(authority, cert, key)
        assert caller.call(gateway, "delete").status == 200


def write_identity(authority, cert, key):
    identity = authority.issue_cert("client")
    identity.cert_chain_pems[0].write_to_path(cert)
    identity.private_key_pem.write_to_path(key)


def test_a_client_certificate_and_its_key_may_come_from_pipes(caller, authority, ca_file, tmp_path):
    identity = authority.issue_cert("client")
    with (
        pipe(tmp_path / "cert", identity.cert_chain_pems[0].bytes()) as cert,
        pipe(tmp_path / "key", identity.private_key_pem.bytes()) as key,
        rogue(tls=context(authority, client_cert=True)) as server,
    ):
        gateway = caller.make(server.url, ca_file=ca_file, client_cert=(cert, key), retry=0)
        for each in (gateway, gateway.replace(job="other")):
            assert caller.call(each, "delete").status == 200


def test_the_password_of_a_key_is_not_asked_for_at_the_terminal(caller, authority, tmp_path):
    identity = authority.issue_cert("client")
    key = load_pem_private_key(identity.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret")
    )
    (tmp_path / "key").write_bytes(encrypted)
    identity.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    files = (tmp_path / "cert", tmp_path / "key")
    with rogue(tls=context(authority)) as server:
        gateway = caller.make(server.url, client_cert=files, verify=False)
        with pytest.raises(ConfigurationError, match="encrypted, and there is no password"):
            caller.call(gateway, "delete")
        with_password = gateway.replace(client_cert=(*files, "s3cret"))
        assert caller.call(with_password, "delete").status == 200


def test_a_client_certificate_that_never_comes_is_not_waited_for(caller, tmp_path, monkeypatch):
    monkeypatch.setattr("pushgate.properties.files._PIPE_SECONDS", 0.1)
    with pipe(tmp_path / "cert") as cert:
        gateway = caller.make("https://localhost:1", client_cert=(cert, cert))
        with pytest.raises(ConfigurationError, match="nothing came from the pipe"):
            caller.call(gateway, "delete")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ca_file": "/no/such/file"}, "No such file or directory: /no/such/file"),
        ({"ca_path": "/no/such/directory"}, "No such file or directory: /no/such/directory"),
        ({"ca_file": "/dev"}, "Is a directory: /dev"),
        ({"ca_file": "/dev/null"}, "no certificate or crl found.*: /dev/null"),
        ({"client_cert": (__file__, "/dev/null")}, f"PEM lib.*: {__file__} and /dev/null"),
        ({"ca_data": "nonsense"}, "does not contain a certificate"),
        ({"ca_data": ""}, "no certificate found"),
    ],
)
def test_unusable_files_are_configuration_errors(caller, options, reason):
    with pytest.raises(ConfigurationError, match=f"TLS cannot be set up: .*{reason}"):
        caller.call(caller.make("https://localhost:1", **options), "delete")


def test_a_context_excludes_the_other_options():
    with pytest.raises(ConfigurationError, match="replaces the other"):
        PushGateway(ssl_context=ssl.create_default_context(), verify=False, properties=False)


def test_nothing_is_global(authority):
    before = ssl._create_default_https_context
    with rogue(tls=context(authority)) as server:
        PushGateway(server.url, verify=False, properties=False).delete()
    assert ssl._create_default_https_context is before
