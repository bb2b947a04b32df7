from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from medclipsam.errors import BadInput
from medclipsam.templates import NONSENSE, OFF_TOPIC, QUOTED, TARGETS, class_leaking, negatives, target, wordings
from medclipsam.words import check_prompts

NAMES = tuple(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_has_its_name_and_twenty_sentences_that_may_be_typed(name: str) -> None:
    words = wordings(name)
    assert words[0] == target(name).name
    assert len(words) == 21
    assert check_prompts(words) == words
    assert all(line.startswith(f"A medical {target(name).scan} ") and line.endswith(".") for line in words[1:])


@pytest.mark.parametrize("name", NAMES)
def test_a_subclass_has_twenty_sentences_of_its_own(name: str) -> None:
    leaking = class_leaking(name)
    assert all(len(check_prompts(lines)) == 20 for lines in leaking.values())
    everything = [wordings(name), *leaking.values()]
    assert not any(set(one) & set(other) for one, other in itertools.combinations(everything, 2))


@pytest.mark.parametrize("name", ["breast tumor", "brain tumor", "lungs on x-ray"])
def test_the_plain_wordings_do_not_name_a_subclass(name: str) -> None:
    telling = {word for subclass in class_leaking(name) for word in subclass.split()} - set(target(name).name.split())
    telling -= {"with"}
    assert telling
    plain = " ".join(wordings(name)).lower().replace(",", " ").replace(".", " ").split()
    assert telling & set(plain) == set()


def test_the_best_published_prompts_leak_and_plain_targets_do_not() -> None:
    assert set(class_leaking("brain tumor")) == {"glioma", "meningioma", "pituitary tumor"}
    assert class_leaking("liver") == {}


@pytest.mark.parametrize("name", NAMES)
def test_negatives_hold_nonsense_and_other_regions_but_nothing_that_may_be_there(name: str) -> None:
    words = negatives(name)
    assert check_prompts(words) == words
    assert set(NONSENSE) | set(OFF_TOPIC) < set(words)
    same_region = {other.name for other in TARGETS.values() if other.region == target(name).region}
    assert not same_region & set(words)


def test_lungs_are_no_negative_for_a_lung_infection_but_a_polyp_is() -> None:
    assert "lungs" not in negatives("covid-19 infection")
    assert "polyp" in negatives("covid-19 infection")
    assert "lungs" in negatives("liver")


def test_the_quoted_prompts_are_kept_apart_from_ours() -> None:
    ours = {line for name in NAMES for line in (*wordings(name), *itertools.chain(*class_leaking(name).values()))}
    assert len(QUOTED) == 3
    assert not ours & set(QUOTED.values())


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="choose one of breast tumor, brain tumor"):
        wordings("left kidney")


def test_templates_load_without_torch() -> None:
    code = "import sys, medclipsam.templates; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
