"""Names of scans, prompts and arrays: safe, short, and different where the things differ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.io.naming import WORDS, array_name, case_name, prompt_slug, safe_words

SAFE = re.compile(r"[A-Za-z0-9_-]+")
HOSTILE = [
    "",
    "..",
    "../../x",
    "a/b\\c",
    "x" * 4000,
    "🫁 lung",
    "naïve",
    "con",
    "NUL",
    "\n",
    "-rf",
    "a\0b",
    "breast--tumor",
]


@given(st.text())
def test_a_prompt_slug_is_a_safe_short_file_name(prompt: str) -> None:
    slug = prompt_slug(prompt)
    assert SAFE.fullmatch(slug)
    assert len(slug) <= 50
    assert slug == slug.lower()


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_prompts_have_different_slugs(first: str, second: str) -> None:
    assert (prompt_slug(first) == prompt_slug(second)) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("breast tumor", "Breast tumor"),
        ("breast tumor", "breast-tumor"),
        ("breast tumor", "breast  tumor"),
        ("../../x", "x"),
        ("a" * 41, "a" * 42),
        ("🫁", "🫀"),
        ("x", prompt_slug("../../x")),
    ],
)
def test_prompts_that_clean_to_the_same_letters_do_not_collide(first: str, second: str) -> None:
    assert prompt_slug(first) != prompt_slug(second)


def test_a_plain_prompt_keeps_its_words() -> None:
    assert prompt_slug("breast tumor") == "breast-tumor"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_become_safe_names(text: str) -> None:
    for name in (
        prompt_slug(text),
        array_name(text),
        case_name(Path("folder") / f"{text[:200]}x.dcm".replace("\0", "")),
    ):
        assert SAFE.fullmatch(name)
        assert len(name) <= 50
        assert name.lower() not in ("con", "nul")
        assert not name.startswith("-")


def test_a_case_name_says_the_stem_and_hides_the_folders() -> None:
    name = case_name(Path("/data/DOE^JANE/IM 0001.dcm"))
    assert name.startswith("IM-0001-")
    assert "DOE" not in name
    assert "JANE" not in name


def test_files_of_one_name_in_two_folders_are_two_cases() -> None:
    assert case_name(Path("a/IM1")) != case_name(Path("b/IM1"))


def test_files_that_differ_in_their_extension_are_two_cases() -> None:
    assert case_name(Path("a/x.png")) != case_name(Path("a/x.dcm"))


def test_a_case_below_a_root_keeps_its_name_when_the_root_moves() -> None:
    here = case_name(Path("/one/batch/p1/x.png"), root=Path("/one/batch"))
    there = case_name(Path("/two/p1/x.png"), root=Path("/two"))
    assert here == there


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("scan.nii.gz", "scan"),
        ("scan.NII", "scan"),
        ("1.2.dcm", "1-2"),
        ("IM 0001", "IM-0001"),
        ("benign (12).png", "benign-12"),
        ("patient004_frame01_slice_1.jpg", "patient004-frame01-slice-1"),
        ("CHNCXR_0072_0.png", "CHNCXR-0072-0"),
        ("a-b", "a-b"),
    ],
)
def test_known_extensions_go_and_harmless_words_stay(file: str, stem: str) -> None:
    assert re.fullmatch(re.escape(stem) + "-[0-9a-f]{8}", case_name(Path(file)))


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("DOE^JANE.dcm", "scan"),
        ("Müller_CT_0001.png", "CT-0001"),
        ("CT PID-4711.png", "CT"),
        ("19700131.nii.gz", "scan"),
        ("1970-01-31_ct.nii.gz", "ct"),
        ("31.01.1970 ct 7.nii.gz", "ct-7"),
        ("ct_12345678.dcm", "ct"),
        ("1.2.840.113619.2.55.3.dcm", "scan"),
        ("IM1_Jane", "IM1"),
        ("日.png", "scan"),
        ("cju30u1hbakn.jpg", "scan"),
        ("ct-smith07", "ct"),
    ],
)
def test_names_numbers_and_dates_are_left_out(file: str, stem: str) -> None:
    assert re.fullmatch(re.escape(stem) + "--[0-9a-f]{4}-[0-9a-f]{8}", case_name(Path(file)))


@given(st.text(max_size=60).filter(lambda text: not set(text) & set("/\0")))
def test_what_is_told_is_made_of_harmless_words_letters_and_short_numbers(stem: str) -> None:
    told, _ = safe_words(stem)
    for piece in told:
        assert piece.lower() in WORDS or re.fullmatch(r"[A-Za-z]?\d{0,4}|[A-Za-z]+\d{1,4}", piece)
        assert (
            re.sub(r"\d+$", "", piece).lower() in WORDS
            or len(re.sub(r"\d+$", "", piece)) <= 1
            or piece.lower() in WORDS
        )


def test_a_safe_array_name_stays_and_another_gets_a_hash() -> None:
    assert array_name("phantom_1") == "phantom_1"
    assert array_name("a b").startswith("a-b--")
    assert array_name("a b") != array_name("a-b")
