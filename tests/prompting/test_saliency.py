"""Is our information bottleneck the plain procedure's, whatever is cached, batched or broken?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import m2ib
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_clip import biomed_folder, open_clip_folder, random_clip
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medclipsam.backbones.clip import ClipModel
from medclipsam.config import M2IB
from medclipsam.errors import BadInput
from medclipsam.prompting import saliency
from medclipsam.prompting.gradcam import GradCam
from medclipsam.prompting.saliency import InformationBottleneck, information_terms, unit_range
from medclipsam.runtime import generator_for

LAYER = 2
SETTINGS = M2IB(layer=LAYER)
FOLDERS = {"timm": biomed_folder, "open_clip": open_clip_folder}
PROMPTS = ["a breast tumor", "lung", "brain mass"]


@pytest.fixture(scope="module", params=FOLDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return random_clip(FOLDERS[request.param](tmp_path_factory.mktemp("models") / request.param))


@pytest.fixture(scope="module")
def timm_model(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return random_clip(biomed_folder(tmp_path_factory.mktemp("models") / "timm"))


def pixels(model: ClipModel, count: int = 3) -> Tensor:
    return torch.randn(count, 3, model.side, model.side, generator=torch.Generator().manual_seed(1))


def noise(names: Sequence[str] = "abc") -> list[torch.Generator]:
    return [generator_for(7, name) for name in names]


def explained(model: ClipModel, count: int = 3, names: str = "abc") -> Tensor:
    tokens, text = model.lower(pixels(model)[:count], LAYER), model.encode_text(PROMPTS[:count])
    return InformationBottleneck(settings=SETTINGS).explain(model, tokens, text, noise(names[:count]))


@pytest.mark.parametrize(
    ("alpha", "x", "expected"),
    [(5, 0.1, 4.5117), (5, 1, 5.0001), (5, 5, 16.840), (0, 1, 0.4431), (-4, 1, 0.0005), (14, 5, 26.000)],
)
def test_information_has_the_values_of_the_closed_form(alpha: float, x: float, expected: float) -> None:
    terms = information_terms(torch.tensor(float(alpha)), torch.tensor(float(x)))
    assert float(terms) == pytest.approx(expected, abs=6e-4 if expected > 10 else 6e-5)


@given(alpha=st.floats(-30, 15), x=st.floats(-50, 50))
def test_information_is_the_divergence_of_the_two_distributions(alpha: float, x: float) -> None:
    gate = torch.sigmoid(torch.tensor(alpha, dtype=torch.float64))
    passed = torch.distributions.Normal(gate * x, 1 - gate)
    expected = torch.distributions.kl_divergence(passed, torch.distributions.Normal(0.0, 1.0))
    ours = information_terms(torch.tensor(alpha, dtype=torch.float64), torch.tensor(x, dtype=torch.float64))
    assert float(ours) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


def test_information_stays_finite_where_the_gate_is_open_in_single_precision() -> None:
    assert torch.isfinite(information_terms(torch.tensor([40.0, 1000.0]), torch.tensor([3.0, 3.0]))).all()


def blocks_of(model: ClipModel) -> Sequence[nn.Module]:
    visual = model.network.visual
    return visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer.resblocks


def test_the_map_is_that_of_the_plain_procedure(model: ClipModel) -> None:
    ids = model._tokenizer([PROMPTS[0]])
    plain = m2ib.plain_map(
        model.network, blocks_of(model)[LAYER], pixels(model, 1), ids, settings=SETTINGS, generator=noise()[0]
    )
    model.network.requires_grad_(False).zero_grad()
    ours = explained(model, count=1).flatten()
    assert float(torch.corrcoef(torch.stack([plain, ours]))[0, 1]) > 0.9999
    assert torch.allclose(plain, ours, atol=0.02)


def test_the_benchmarks_own_short_way_is_the_plain_procedure_too(timm_model: ClipModel) -> None:
    ours = m2ib.our_map(timm_model, pixels(timm_model, 1), PROMPTS[0], SETTINGS, noise()[0])
    assert torch.equal(ours, explained(timm_model, count=1).flatten())


def test_the_benchmark_counts_the_products_of_every_step_of_both(timm_model: ClipModel) -> None:
    ids, block = timm_model._tokenizer([PROMPTS[0]]), blocks_of(timm_model)[LAYER]

    def ours(chosen: M2IB) -> Tensor:
        return m2ib.our_map(timm_model, pixels(timm_model, 1), PROMPTS[0], chosen, noise()[0])

    def plain(chosen: M2IB) -> Tensor:
        given = (timm_model.network, block, pixels(timm_model, 1), ids)
        return m2ib.plain_map(*given, settings=chosen, generator=noise()[0])

    settings = replace(SETTINGS, steps=4)
    counted = {}
    for run in (ours, plain):
        with FlopCounterMode(display=False) as counter:
            run(settings)
        counted[run] = m2ib.products(run, settings)
        assert counted[run] == counter.get_total_flops()
    timm_model.network.requires_grad_(False).zero_grad()
    assert 0 < counted[ours] < counted[plain]


def test_a_map_runs_from_zero_to_one_over_the_grid(model: ClipModel) -> None:
    maps = explained(model)
    assert maps.shape == (3, *model.grid)
    assert maps.amin(dim=(1, 2)).tolist() == [0, 0, 0]
    assert maps.amax(dim=(1, 2)).tolist() == [1, 1, 1]


def test_other_images_in_the_batch_change_no_bit(model: ClipModel) -> None:
    tokens, text = model.lower(pixels(model), LAYER), model.encode_text(PROMPTS)
    explainer = InformationBottleneck(settings=SETTINGS)
    alone = [explainer.explain(model, tokens[[row]], text[[row]], noise()[row : row + 1]) for row in range(3)]
    order = [2, 0, 1]
    shuffled = explainer.explain(model, tokens[order], text[order], [noise()[row] for row in order])
    assert torch.equal(torch.cat(alone), explained(model))
    assert torch.equal(torch.cat(alone)[order], shuffled)


def test_images_optimised_in_one_batch_give_the_same_maps(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = explained(model)
    monkeypatch.setattr(saliency, "images_at_once", lambda device: 2)
    together = explained(model)
    for one, other in zip(alone, together, strict=True):
        assert float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) > 0.9999


def test_the_same_image_with_several_prompts_has_the_maps_of_each(model: ClipModel) -> None:
    tokens, text = model.lower(pixels(model, 1), LAYER), model.encode_text(PROMPTS)
    explainer = InformationBottleneck(settings=SETTINGS)
    together = explainer.explain(model, tokens.expand(3, -1, -1), text, noise("aaa"))
    alone = [explainer.explain(model, tokens, row[None], noise("a")) for row in text]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together[0], together[1])


def test_the_length_of_an_embedding_does_not_matter(timm_model: ClipModel) -> None:
    tokens, text = timm_model.lower(pixels(timm_model, 1), LAYER), timm_model.encode_text(PROMPTS[:1])
    explainer = InformationBottleneck(settings=SETTINGS)
    long, short = (explainer.explain(timm_model, tokens, text * by, noise("a")) for by in (64, 0.5))
    assert torch.allclose(long, short, atol=1e-3)


def test_the_noise_decides_the_map(timm_model: ClipModel) -> None:
    assert not torch.equal(explained(timm_model, 1, "a"), explained(timm_model, 1, "b"))


def test_the_variance_that_the_released_code_never_reads_is_no_setting() -> None:
    assert {field.name for field in fields(M2IB)} == {
        "layer",
        "beta",
        "steps",
        "learning_rate",
        "samples",
        "initial_alpha",
    }


def test_nothing_to_explain_gives_nothing(timm_model: ClipModel) -> None:
    tokens, text = timm_model.lower(pixels(timm_model, 1), LAYER)[:0], timm_model.encode_text([])
    for explainer in (InformationBottleneck(settings=SETTINGS), GradCam()):
        assert explainer.explain(timm_model, tokens, text, []).shape == (0, 10, 10)


def test_rows_of_different_number_are_a_mistake(timm_model: ClipModel) -> None:
    tokens, text = timm_model.lower(pixels(timm_model), LAYER), timm_model.encode_text(PROMPTS)
    with pytest.raises(ValueError, match="3 rows of tokens with 2 generators"):
        InformationBottleneck(settings=SETTINGS).explain(timm_model, tokens, text, noise("ab"))
    with pytest.raises(ValueError, match="3 rows of tokens with 1 texts"):
        GradCam().explain(timm_model, tokens, text[:1])


def state_of(model: ClipModel) -> tuple[object, ...]:
    parts = list(model.network.modules())
    return (
        [(len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks)) for part in parts],
        [part.training for part in parts],
        [(weight.requires_grad, weight.grad is None, weight._version) for weight in model.network.parameters()],
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )


def test_a_model_is_the_same_after_being_explained(model: ClipModel) -> None:
    before = state_of(model)
    explained(model, 1)
    assert state_of(model) == before


def test_a_model_is_the_same_after_a_crash_inside(timm_model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before, calls = state_of(timm_model), []
    run = timm_model._vision.blocks[-2].forward

    def crash_on_the_third(*arguments: Tensor, **options: object) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return run(*arguments, **options)

    tokens, text = timm_model.lower(pixels(timm_model, 1), LAYER), timm_model.encode_text(PROMPTS[:1])
    with monkeypatch.context() as patched:
        patched.setattr(timm_model._vision.blocks[-2], "forward", crash_on_the_third)
        with pytest.raises(RuntimeError, match="out of memory"):
            InformationBottleneck(settings=SETTINGS).explain(timm_model, tokens, text, noise("a"))
    assert state_of(timm_model) == before


class Linear:
    """A model of four tokens whose embedding is a chosen function of them."""

    side, grid, prefix_tokens, blocks = 4, (2, 2), 1, 4
    device, identity = torch.device("cpu"), "linear"

    def __init__(self, embed: Callable[[Tensor], Tensor]) -> None:
        self.embed = embed

    def upper(self, tokens: Tensor, layer: int) -> Tensor:
        return self.embed(tokens)


TOKENS = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(2))
TARGET = torch.eye(6)[:1]


@pytest.mark.parametrize("explainer", [InformationBottleneck(settings=SETTINGS), GradCam()])
@pytest.mark.parametrize(
    ("tokens", "target", "embed"),
    [
        pytest.param(TOKENS, TARGET * 0, lambda tokens: tokens.sum(dim=1), id="a text of zeros"),
        pytest.param(TOKENS, TARGET, lambda tokens: tokens[:, 0], id="only the class token counts"),
        pytest.param(TOKENS, TARGET, lambda tokens: 0 * tokens.sum(dim=1) + 1, id="no token counts"),
        pytest.param(TOKENS * torch.nan, TARGET, lambda tokens: tokens.sum(dim=1), id="tokens that are NaN"),
        pytest.param(TOKENS, TARGET * torch.nan, lambda tokens: tokens.sum(dim=1), id="a text that is NaN"),
        pytest.param(TOKENS * torch.inf, TARGET, lambda tokens: tokens.sum(dim=1), id="infinite tokens"),
    ],
)
def test_nothing_is_shown_where_the_text_has_no_bearing(
    explainer: saliency.Explainer, tokens: Tensor, target: Tensor, embed: Callable[[Tensor], Tensor]
) -> None:
    maps = explainer.explain(Linear(embed), tokens, target, noise("a"))
    assert torch.equal(maps, torch.zeros(1, 2, 2))


def test_one_row_without_bearing_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "images_at_once", lambda device: 3)
    tokens, target = TOKENS.expand(3, -1, -1).clone(), TARGET.expand(3, -1).clone()
    tokens[1], target[2] = torch.nan, 0
    model = Linear(lambda given: given.sum(dim=1))
    together = InformationBottleneck(settings=SETTINGS).explain(model, tokens, target, noise("abc"))
    alone = InformationBottleneck(settings=SETTINGS).explain(model, TOKENS, TARGET, noise("a"))
    assert torch.allclose(together[0], alone[0], atol=1e-5)
    assert together[0].max() == 1
    assert not together[1:].any()


def test_the_token_that_carries_the_text_is_the_brightest() -> None:
    tokens = 0.05 * TOKENS.clone()
    tokens[0, 3] += 3 * TARGET[0]
    maps = InformationBottleneck(settings=SETTINGS).explain(
        Linear(lambda given: given[:, 1:].sum(dim=1)), tokens, TARGET, noise("a")
    )
    assert int(maps.flatten().argmax()) == 2


def test_tokens_that_are_all_alike_give_a_finite_map(timm_model: ClipModel) -> None:
    tokens = torch.ones_like(timm_model.lower(pixels(timm_model, 1), LAYER))
    maps = InformationBottleneck(settings=SETTINGS).explain(
        timm_model, tokens, timm_model.encode_text(PROMPTS[:1]), noise("a")
    )
    assert torch.isfinite(maps).all()
    assert 0 <= maps.min() <= maps.max() <= 1


@given(st.lists(st.lists(st.floats(width=32), min_size=4, max_size=4), min_size=1, max_size=4))
def test_any_values_come_into_range_or_become_zero(rows: list[list[float]]) -> None:
    values = torch.tensor(rows, dtype=torch.float32)
    scaled = unit_range(values)
    for before, after in zip(values, scaled, strict=True):
        span = before.max() - before.min()
        if torch.isfinite(span) and span > 0:
            assert (float(after.min()), float(after.max())) == (0, 1)
        else:
            assert not after.any()


def test_a_layer_beyond_the_tower_is_refused(timm_model: ClipModel) -> None:
    with pytest.raises(BadInput, match="layer 9 of a tower with 6 blocks"):
        InformationBottleneck().layer_in(timm_model)


@pytest.mark.parametrize("settings", [M2IB(steps=0), M2IB(samples=0), M2IB(learning_rate=0)])
def test_settings_that_cannot_explain_are_refused(settings: M2IB) -> None:
    with pytest.raises(BadInput, match="M2IB"):
        InformationBottleneck(settings=settings)
