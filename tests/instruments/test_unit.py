import pytest

from pushgate import Unit


@pytest.mark.parametrize(
    ("convert", "amount", "expected"),
    [
        (Unit.nanos_to_seconds, 2_500_000_000, 2.5),
        (Unit.millis_to_seconds, 250, 0.25),
        (Unit.kilobytes_to_bytes, 2, 2048),
    ],
)
def test_conversions_lead_to_base_units(convert, amount, expected):
    assert convert(amount) == expected
