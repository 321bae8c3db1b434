import ssl

import pytest
import trustme

from pushgate import ConfigurationError, PushConnectionError, PushGateway
from tests.client.rogue import answer, rogue


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


@pytest.mark.parametrize("options", [{"ca_file": "/no/such/file"}, {"ca_data": "nonsense"}])
def test_unusable_files_are_configuration_errors(caller, options):
    with pytest.raises(ConfigurationError, match="TLS cannot be set up"):
        caller.call(caller.make("https://localhost:1", **options), "delete")


def test_a_context_excludes_the_other_options():
    with pytest.raises(ConfigurationError, match="replaces the other"):
        PushGateway(ssl_context=ssl.create_default_context(), verify=False, properties=False)


def test_nothing_is_global(authority):
    before = ssl._create_default_https_context
    with rogue(tls=context(authority)) as server:
        PushGateway(server.url, verify=False, properties=False).delete()
    assert ssl._create_default_https_context is before
