import pytest

from tests import services


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Our server as users run it, its data on disk; UTF-8 names are allowed."""
    data = tmp_path_factory.mktemp("gateway") / "pushgate.db"
    with services.pushgate("--push.enable-utf8-names", data=data) as service:
        yield service
