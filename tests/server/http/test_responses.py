import pytest

from pushgate import errors
from pushgate.server.http.responses import INTERNAL_ERROR, error_response

SERVED = [
    (errors.InvalidPush("x"), 400),
    (errors.InvalidGroupingKey("x"), 400),
    (errors.InvalidBody("x"), 400),
    (errors.TextFormatError(1, "x"), 400),
    (errors.UnsupportedEncoding("x"), 415),
    (errors.LimitExceeded("x", "y"), 413),
    (errors.LimitExceeded("x", "y", status=429), 429),
    (errors.InconsistentPush("x"), 400),
    (errors.JournalFailed("x"), 503),
    (MemoryError(), 503),
]


def lines(response) -> list[str]:
    head, _, body = response.wire((), keep_alive=True).partition(b"\r\n\r\n")
    return [*head.decode().split("\r\n"), body.decode("utf-8", "surrogateescape")]


@pytest.mark.parametrize(("error", "status"), SERVED)
def test_every_error_of_a_request_has_a_status(error, status):
    assert error_response(error).status == status


def test_no_request_raises_what_only_the_client_or_the_start_raises():
    served = tuple(type(error) for error, _ in SERVED)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(
            kind, (errors.PushgatewayError, errors.StartupError)
        ):
            assert error_response(kind("x")) is INTERNAL_ERROR
            assert not issubclass(kind, served)


def test_an_error_is_answered_in_plain_text():
    assert lines(error_response(errors.TextFormatError(3, 'got "\udcff"'))) == [
        "HTTP/1.1 400 Bad Request",
        "content-type: text/plain; charset=utf-8",
        "x-content-type-options: nosniff",
        "content-length: 45",
        'text format parsing error in line 3: got "\udcff"\n',
    ]


def test_an_inconsistent_push_is_told_what_to_do_below_the_reason():
    error = errors.InconsistentPush("K error(s) occurred:\n* first", advice=("do this", "or that"))
    assert lines(error_response(error))[-1] == (
        "pushed metrics are invalid or inconsistent with existing metrics: "
        "K error(s) occurred:\n* first\ndo this\nor that\n"
    )


@pytest.mark.parametrize(("error", "status"), SERVED)
def test_says_when_to_come_back_if_that_may_help(error, status):
    comes_back = any(line.startswith("retry-after: ") for line in lines(error_response(error)))
    assert comes_back == (status in {429, 503})
