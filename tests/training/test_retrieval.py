"""Retrieval among fifty: certainty, chance, ties, and a ranking done by hand."""

from __future__ import annotations

import pytest
import torch

from medclipsam.errors import BadInput
from medclipsam.training.tasks.retrieval import Retrieval, hits


def test_pairs_that_match_are_always_found():
    rows = torch.eye(120)
    scores = Retrieval().evaluate(rows, 3 * rows)
    assert set(scores) == {f"{way}_top{k}" for way in ("image_to_text", "text_to_image") for k in (1, 2)}
    assert all(score == (1.0, 0.0) for score in scores.values())


def test_equal_embeddings_score_chance_and_not_certainty():
    scores = Retrieval().evaluate(torch.ones(100, 4), torch.ones(100, 4))
    assert scores["image_to_text_top1"].mean == pytest.approx(1 / 50)
    assert scores["text_to_image_top2"].mean == pytest.approx(2 / 50)


def test_the_ranking_of_the_stated_cosines_is_the_one_done_by_hand():
    cosines = torch.tensor([[0.8, 0.5, 0.1], [0.3, 0.7, 0.9], [0.9, 0.6, 0.2]])
    assert hits(cosines, 1).tolist() == [1, 0, 0]
    assert hits(cosines, 2).tolist() == [1, 1, 0]
    assert hits(cosines.T, 1).tolist() == [0, 1, 0]


def test_a_tie_counts_as_the_chance_of_breaking_it_rightly():
    cosines = torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.5, 0.5], [0.0, 0.0, 0.0]])
    assert hits(cosines, 1).tolist() == pytest.approx([0, 1 / 2, 1 / 3])
    assert hits(cosines, 2).tolist() == pytest.approx([1 / 2, 1, 2 / 3])


def test_a_model_that_yields_no_numbers_finds_nothing():
    broken = torch.full((4, 3), float("nan"))
    scores = Retrieval().evaluate(broken, torch.ones(4, 3))
    assert all(score.mean == 0 for score in scores.values())


def test_directions_are_not_mixed_up():
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 60, 5, generator=generator)
    forth, back = Retrieval().evaluate(image, text), Retrieval().evaluate(text, image)
    assert forth["image_to_text_top1"] == back["text_to_image_top1"]
    assert forth["image_to_text_top1"] != forth["text_to_image_top1"]


def test_the_seed_decides_the_shuffles_and_their_spread_is_told():
    image = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    text = image + 0.5 * torch.randn(200, 3, generator=torch.Generator().manual_seed(2))
    first = Retrieval().evaluate(image, text)
    assert first == Retrieval().evaluate(image, text)
    assert first != Retrieval(seed=1).evaluate(image, text)
    assert first["image_to_text_top1"].std > 0
    assert Retrieval(repetitions=1).evaluate(image, text)["image_to_text_top1"].std == 0


def test_fewer_pairs_than_a_batch_are_all_candidates():
    scores = Retrieval().evaluate(torch.ones(8, 4), torch.ones(8, 4))
    assert scores["image_to_text_top1"].mean == pytest.approx(1 / 8)


def test_a_rest_that_fills_no_batch_is_left_out():
    scores = Retrieval(batch=50).evaluate(torch.ones(99, 4), torch.ones(99, 4))
    assert scores["image_to_text_top1"].mean == pytest.approx(1 / 50)


def test_one_pair_says_nothing():
    with pytest.raises(BadInput, match="at least 2"):
        Retrieval().evaluate(torch.ones(1, 4), torch.ones(1, 4))
