"""A class of declared fields is made like a dataclass."""

from dataclasses import KW_ONLY, field, fields, replace

import pytest

from pushgate.declared import declared


@declared
class Meal:
    dish: str = field(default="soup", metadata={"about": "what there is"})
    _: KW_ONLY
    guests: int = 1


@declared
class Feast(Meal):
    toast: str = ""

    def __post_init__(self):
        if self.guests < 2:
            raise ValueError("a feast needs guests")


def test_fields_are_given_by_position_or_by_name_or_have_their_defaults():
    meals = [Meal(), Meal("fish"), Meal(guests=3), Meal(dish="fish", guests=2)]
    assert [(meal.dish, meal.guests) for meal in meals] == [
        ("soup", 1), ("fish", 1), ("soup", 3), ("fish", 2),
    ]  # fmt: skip
    assert fields(Meal)[0].metadata["about"] == "what there is"


def test_a_subclass_has_the_fields_of_both_and_checks_them():
    feast = Feast("roast", guests=20, toast="cheers")
    assert (feast.dish, feast.guests, feast.toast) == ("roast", 20, "cheers")
    assert replace(feast, guests=30).guests == 30
    with pytest.raises(ValueError, match="needs guests"):
        Feast(guests=1)


@pytest.mark.parametrize(
    ("by_position", "by_name", "error"),
    [
        (["fish"], {"dish": "soup"}, "given twice: dish"),
        (["fish", 3], {}, "takes 1 by position, not 2"),
        ([], {"gests": 3}, "no such option: gests"),
    ],
)
def test_what_is_no_field_is_refused(by_position, by_name, error):
    with pytest.raises(TypeError, match=error):
        Meal(*by_position, **by_name)
