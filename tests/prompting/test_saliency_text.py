"""Are the words that match the image told from those that do not?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_clip import biomed_folder, open_clip_folder, random_clip

from medclipsam.backbones.clip import ClipModel
from medclipsam.config import M2IB
from medclipsam.errors import BadInput
from medclipsam.prompting.text_saliency import word_importances
from medclipsam.runtime import generator_for

SETTINGS = M2IB(layer=1)
FOLDERS = {"bert": biomed_folder, "open_clip": open_clip_folder}


@pytest.fixture(scope="module", params=FOLDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return random_clip(FOLDERS[request.param](tmp_path_factory.mktemp("models") / request.param))


def image_of(model: ClipModel) -> torch.Tensor:
    pixels = torch.randn(1, 3, model.side, model.side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.upper(model.lower(pixels, 1), 1)[0]


def test_every_word_has_an_importance_and_the_scale_is_used(model: ClipModel) -> None:
    found = word_importances(model, "a brain tumor", image_of(model), generator_for(1, "a"), SETTINGS)
    assert [word.token.removesuffix("</w>") for word in found] == ["a", "brain", "tumor"]
    assert min(word.importance for word in found) == 0
    assert max(word.importance for word in found) == 1


def test_the_same_seed_gives_the_same_importances(model: ClipModel) -> None:
    image = image_of(model)
    runs = [word_importances(model, "a brain tumor", image, generator_for(1, "a"), SETTINGS) for _ in range(2)]
    other = word_importances(model, "a brain tumor", image, generator_for(1, "b"), SETTINGS)
    assert runs[0] == runs[1]
    assert runs[0] != other


def test_the_marks_of_start_and_end_are_no_words(model: ClipModel) -> None:
    assert word_importances(model, "", image_of(model), generator_for(1, "a"), SETTINGS) == ()


def test_one_word_has_nothing_to_be_compared_with(model: ClipModel) -> None:
    (word,) = word_importances(model, "lung", image_of(model), generator_for(1, "a"), SETTINGS)
    assert word.importance == 0


def test_an_image_of_zeros_says_nothing_about_words(model: ClipModel) -> None:
    found = word_importances(model, "a brain tumor", image_of(model) * 0, generator_for(1, "a"), SETTINGS)
    assert [word.importance for word in found] == [0, 0, 0]


def test_a_layer_beyond_the_text_tower_is_refused(tmp_path: Path) -> None:
    model = random_clip(biomed_folder(tmp_path / "model"))
    with pytest.raises(BadInput, match="layer 9"):
        word_importances(model, "lung", image_of(model), generator_for(1, "a"))
