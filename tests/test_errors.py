"""Errors are what programs catch, and they cross processes."""

import pickle

import pytest

from pushgate import errors


def test_client_errors_are_what_existing_programs_catch():
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.EncodingError, ValueError)
    assert issubclass(errors.PushConnectionError, ConnectionError)
    assert issubclass(errors.PushTimeoutError, TimeoutError)
    assert issubclass(errors.PushHTTPError, OSError)
    assert issubclass(errors.PushgatewayError, errors.PushgateError)


def subclasses(kind):
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from subclasses(each)


MADE = {
    "TextFormatError": lambda: errors.TextFormatError(3, "no"),
    "InvalidParameter": lambda: errors.InvalidParameter("limit", "no"),
    "InvalidSelector": lambda: errors.InvalidSelector(3, "no"),
    "LimitExceeded": lambda: errors.LimitExceeded("no", "x", status=429),
    "StoreFull": lambda: errors.StoreFull("no", "groups"),
    "InconsistentPush": lambda: errors.InconsistentPush("no", advice=("do this",)),
    "JournalFailed": lambda: errors.JournalFailed("no", unknown=True),
    "ConfigurationError": lambda: errors.ConfigurationError("no", key="job", source="p:1"),
}


@pytest.mark.parametrize(
    "kind", sorted(set(subclasses(errors.PushgateError)), key=lambda kind: kind.__name__)
)
def test_an_error_of_a_worker_process_arrives_with_all_it_says(kind):
    error = MADE.get(kind.__name__, lambda: kind("no"))()
    if isinstance(error, errors.PushgatewayError):
        error.hint, error.attempts = "why not", 3
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
