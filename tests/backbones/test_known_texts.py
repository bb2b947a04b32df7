"""Is an unseen wording read as the known sentences near it are, and a strange text by the head alone?"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from medclipsam.backbones.compact import SENTENCE, CompactShape, CompactTower, says_left_of
from medclipsam.backbones.compact_clip import FAMILIAR, OTHER_SIDE, STRANGE, KnownTexts, _one_meaning


def taught(known: torch.Tensor) -> CompactTower:
    torch.manual_seed(0)
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32)).eval()
    tower.know(known)
    return tower


def directions(count: int) -> torch.Tensor:
    """Sentence vectors at right angles."""
    return torch.linalg.qr(torch.randn(SENTENCE, count, generator=torch.Generator().manual_seed(0)))[0].T.contiguous()


def head(tower: CompactTower, sentences: torch.Tensor) -> torch.Tensor:
    return F.normalize(tower.embed_text(sentences), dim=-1)


def test_a_known_sentence_is_read_as_the_head_reads_it() -> None:
    known = directions(5)
    tower = taught(known)
    assert torch.allclose(KnownTexts(tower).read(known), head(tower, known), atol=1e-5)


def test_an_unseen_wording_is_read_as_its_nearest_known_sentence() -> None:
    first, second, away = directions(3)
    tower = taught(torch.stack([first, second]))
    wording = F.normalize(0.9 * first + 0.3 * second + 0.3 * away, dim=0)[None]
    assert torch.allclose(KnownTexts(tower).read(wording), head(tower, first[None]), atol=1e-4)
    assert not torch.allclose(head(tower, wording), head(tower, first[None]), atol=1e-2)


def test_between_two_equally_near_it_lies_in_the_middle() -> None:
    first, second = directions(2)
    tower = taught(torch.stack([first, second]))
    wording = F.normalize(first + second, dim=0)[None]
    middle = F.normalize(head(tower, first[None]) + head(tower, second[None]), dim=-1)
    assert torch.allclose(KnownTexts(tower).read(wording), middle, atol=1e-4)


def test_a_text_near_to_nothing_known_is_left_to_the_head() -> None:
    known, strange = directions(2)
    near = F.normalize(STRANGE * known + (1 - STRANGE**2) ** 0.5 * strange, dim=0)
    tower = taught(known[None])
    for text in (strange[None], near[None]):
        assert torch.allclose(KnownTexts(tower).read(text), head(tower, text), atol=1e-5)
    assert STRANGE < FAMILIAR


def test_a_tower_that_knows_no_sentence_reads_with_its_head() -> None:
    tower, texts = taught(torch.zeros(0, SENTENCE)), directions(3)
    assert torch.equal(KnownTexts(tower).read(texts), head(tower, texts))


def test_a_text_is_read_alike_in_any_company() -> None:
    tower, texts = taught(directions(6)), F.normalize(directions(4) + 0.5 * directions(5)[1:], dim=-1)
    together = KnownTexts(tower).read(texts)
    for row, text in enumerate(texts):
        assert torch.allclose(KnownTexts(tower).read(text[None])[0], together[row], atol=1e-6)


def test_all_sentences_of_a_target_mean_the_same_and_others_what_the_head_makes_of_them() -> None:
    sentences = directions(4)
    tower = taught(sentences)
    tower.know(sentences, torch.tensor([0, 0, 1, -1]))
    read, alone = KnownTexts(tower).read(sentences), head(tower, sentences)
    assert torch.allclose(read[0], read[1], atol=1e-4)
    assert torch.allclose(read[0], F.normalize(alone[0] + alone[1], dim=-1), atol=1e-4)
    assert torch.allclose(read[2:], alone[2:], atol=1e-4)


def test_a_word_that_is_read_unlike_the_others_hardly_moves_what_its_target_means() -> None:
    axes = torch.eye(8)
    agreeing = F.normalize(axes[0] + 0.1 * axes[1:4], dim=-1)
    values, named = torch.cat([agreeing, axes[5:6], axes[6:7]]), torch.tensor([0, 0, 0, 0, -1])
    read = _one_meaning(values, named)
    alone = _one_meaning(agreeing, named[:3])
    assert (read[0] @ alone[0]) > 0.9999
    assert torch.equal(read[3], read[0])
    assert torch.equal(read[4], axes[6])


def test_a_text_of_one_side_is_not_read_as_the_other_side_of_the_same_thing() -> None:
    left, right, atrium, middle = directions(4)
    known = F.normalize(torch.stack([atrium + 0.3 * left + middle, atrium + 0.3 * right]), dim=-1)
    tower = taught(known)
    tower.says_left = 4 * (left - right)
    text = F.normalize(atrium + 0.3 * right + middle, dim=0)[None]
    wrong, meant = (head(tower, row[None])[0] for row in known)
    sided, plain = (KnownTexts(tower, other_side=value).read(text)[0] for value in (OTHER_SIDE, 0.0))
    assert (plain @ wrong) > (plain @ meant)
    assert (sided @ meant) > (sided @ wrong)


def test_where_no_side_is_said_sides_change_nothing() -> None:
    known = directions(4)
    tower = taught(known)
    tower.know(known, None, torch.zeros(4))
    assert torch.equal(tower.says_left, torch.zeros(SENTENCE))
    text = F.normalize(known[:1] + 0.4 * known[1:2], dim=-1)
    assert torch.equal(KnownTexts(tower).read(text), KnownTexts(taught(known)).read(text))


def test_the_direction_of_sides_tells_left_from_right_of_words_that_it_was_not_fitted_to() -> None:
    left, right, *names = directions(12)
    sentences = torch.stack([side + 2 * name for name in names for side in (left, right, 0 * left)])
    sides = torch.tensor([1.0, -1, 0] * len(names))
    direction = says_left_of(sentences[:-3], sides[:-3])
    found = F.normalize(sentences[-3:], dim=-1) @ direction
    assert found[0] > 0.3
    assert found[1] < -0.3
    assert abs(found[2]) < 0.1
