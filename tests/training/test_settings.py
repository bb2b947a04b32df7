"""Settings of every trainable method: each has a help, TOML comes back as it went, wrong ones are told in one line."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

import pytest

from medclipsam.errors import BadInput
from medclipsam.training.registry import METHODS, config_of, find_method
from medclipsam.training.settings import changed, field_docstrings, read_pairs, read_toml, settings_of, to_toml


@dataclass(frozen=True, kw_only=True)
class Coffee:
    """How coffee is made."""

    cups: int = 2
    """Number of cups (a usual choice:
    two)."""
    strength: float = 0.5
    """Strength, 0 to 1."""
    milk: bool = False
    """Whether it has milk."""
    name: str = 'mocha "grande"'
    """Name of the drink."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes in ml."""
    range: tuple[float, float] = (0.0, 1.0)
    """Range of temperatures in degrees."""
    queue: int | None = None
    """Number in the queue; not set: none."""


PARTS = {"drink": Coffee()}
UNSET = "queue"


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_has_a_help_that_is_a_full_phrase(name):
    for setting in settings_of(METHODS[name].defaults()):
        assert setting.help.endswith("."), setting.name
        assert not setting.help.startswith(("Of ", "See ", "How (")), setting.name
        assert len(setting.help.split()) > 3, setting.name


@pytest.mark.parametrize("name", METHODS)
def test_no_two_settings_of_a_method_share_a_name(name):
    names = [setting.name for setting in settings_of(METHODS[name].defaults())]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", METHODS)
def test_what_is_shown_is_taken_back_unchanged(name, tmp_path):
    parts = METHODS[name].defaults()
    (tmp_path / "config.toml").write_text(config_of(name, parts))
    assert changed(parts, read_toml(tmp_path / "config.toml")) == parts


def test_a_toml_says_help_and_value_of_each_setting():
    text = to_toml(PARTS, "Coffee.")
    assert (
        "# Coffee.\n\n# --- drink: How coffee is made.\n\n# Number of cups (a usual choice: two).\ncups = 2\n" in text
    )
    assert tomllib.loads(text) == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(Coffee()).items()
        if name != UNSET
    }
    assert "# queue =   (not set)" in text


def test_a_derived_class_may_say_more_of_a_field():
    @dataclass(frozen=True)
    class Base:
        """Base."""

        x: int = 1
        """Old words."""
        y: int = 1
        """Kept words."""

    @dataclass(frozen=True)
    class Derived(Base):
        """Derived."""

        x: int = 2
        """New words."""

    assert field_docstrings(Derived) == {"x": "New words.", "y": "Kept words."}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cups=3", 3),
        ("strength=1", 1.0),
        ("milk=true", True),
        ("name=latte", "latte"),
        ("name=3", "3"),
        ('name="a b"', "a b"),
        ("sizes=[5]", (5,)),
        ("range=[0, 0.5]", (0.0, 0.5)),
        ("queue=4", 4),
        ("queue=", None),
    ],
)
def test_a_value_is_read_as_the_type_of_its_setting(text, value):
    parts = changed(PARTS, read_pairs([text], PARTS))
    found = getattr(parts["drink"], text.split("=")[0])
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strenght=1", "unknown setting 'strenght'; did you mean strength?"),
        ("xyz=1", "--show-config"),
        ("cups=many", "cups = 'many' is not a whole number"),
        ("cups=1.5", "not a whole number"),
        ("cups=true", "not a whole number"),
        ("milk=1", "not true or false"),
        ("range=[1]", "a list of 2 values"),
        ("sizes=[1, 'a']", "a list of values, each a whole number"),
        ("cups", "has no ="),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(text, message):
    with pytest.raises(BadInput) as told:
        changed(PARTS, read_pairs([text], PARTS))
    assert message in str(told.value) and "\n" not in str(told.value)


def test_a_table_in_the_toml_or_no_toml_at_all_is_told(tmp_path):
    (tmp_path / "a.toml").write_text("[recipe]\ncups = 1\n")
    with pytest.raises(BadInput, match="unknown setting 'recipe'"):
        changed(PARTS, read_toml(tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text("cups: 1\n")
    with pytest.raises(BadInput, match=r"b\.toml is not TOML"):
        read_toml(tmp_path / "b.toml")
    with pytest.raises(BadInput, match="cannot be read"):
        read_toml(tmp_path / "c.toml")


def test_an_unknown_method_is_told_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean clip"):
        find_method("clipp")
