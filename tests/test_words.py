"""Which prompts are taken, and what is said of the others?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.words import LONGEST_PROMPT, check_prompt, check_prompts


@pytest.mark.parametrize(
    "prompt", ["breast tumor", "😀", "👩‍⚕️ finding", "опухоль", "腫瘍", "../../x", "-o", "a" * LONGEST_PROMPT]
)
def test_words_of_any_language_and_any_symbol_pass_unchanged(prompt: str) -> None:
    assert check_prompt(prompt) == prompt


def test_space_around_a_prompt_is_taken_away() -> None:
    assert check_prompt("  left lung \n") == "left lung"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("x" * 10_000, "10,000 characters"),
        ("a\x00b", r"control character \(U\+0000\) at position 1"),
        ("two\nlines", "control character"),
        ("bad\udcff", "broken character"),
        ("two\u2028lines", "line break"),
    ],
)
def test_what_cannot_be_shown_on_one_line_is_refused_with_the_reason(prompt: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_prompt(prompt)


@given(st.text(max_size=50))
def test_an_accepted_prompt_can_be_stored_and_is_accepted_again(text: str) -> None:
    try:
        prompt = check_prompt(text)
    except BadInput:
        return
    assert prompt.encode().decode() == prompt
    assert check_prompt(prompt) == prompt
    assert len(prompt.splitlines()) == 1


def test_a_repeated_prompt_is_asked_once_and_the_order_stays() -> None:
    assert check_prompts(["lung", "heart", " lung "]) == ("lung", "heart")


def test_no_prompt_at_all_is_refused() -> None:
    with pytest.raises(BadInput, match="no prompt"):
        check_prompts([])
