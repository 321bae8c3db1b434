import pytest

from pushgate import errors
from pushgate.cli.messages import exit_status, report


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigurationError("x"), 2),
        (errors.EncodingError("x"), 3),
        (errors.PushRejectedError("x"), 3),
        (errors.PushRedirectError("x"), 3),
        (errors.PushTimeoutError("x"), 4),
        (errors.PushConnectionError("x"), 4),
        (errors.PushServerError("x"), 4),
        (errors.PushAuthError("x"), 5),
        (OSError("x"), 3),
    ],
)
def test_each_kind_of_failure_has_its_status(error, status):
    assert exit_status(error) == status


def test_a_report_speaks_of_flags_and_has_the_notes(capsys):
    error = errors.EncodingError("timestamps='strip' leaves it out")
    error.add_note("deadline: expecting seconds")
    report(error)
    assert capsys.readouterr().err == (
        "pushgate: --strip-timestamps leaves it out\npushgate: --timeout: expecting seconds\n"
    )


def test_an_error_without_text_is_named(capsys):
    report(ZeroDivisionError())
    assert capsys.readouterr().err == "pushgate: ZeroDivisionError()\n"


def test_a_report_does_not_touch_what_the_user_wrote(capsys):
    text = """'m{job="x"}', line 1: {instance="a",job="x"}"""
    report(errors.EncodingError(f"{text}; set it with job=."))
    assert capsys.readouterr().err == f"pushgate: {text}; set it with --job.\n"
