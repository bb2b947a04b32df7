"""MedCLIPSeg keeps what its paper and its released code say: sizes, names, noise, gates, padding, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_towers import write_towers
from torch import Tensor

from medclipsam.errors import BadInput
from medclipsam.networks.contract import Batch, Inputs
from medclipsam.networks.medclipseg.attention import Adapter, ProbabilisticAttention, drawn_noise, no_noise
from medclipsam.networks.medclipseg.build import assembled
from medclipsam.networks.medclipseg.contrast import rowwise_dice, soft_contrast, soft_targets
from medclipsam.networks.medclipseg.heads import PaperHead
from medclipsam.networks.medclipseg.network import MedClipSeg
from medclipsam.networks.medclipseg.open_clip_towers import OpenClipTowers, load_open_clip
from medclipsam.networks.medclipseg.released import fill_trained, taken_apart
from medclipsam.networks.medclipseg.settings import CLIP, MedClipSegSettings
from medclipsam.networks.medclipseg.towers import Widths

SMALL = replace(CLIP, side=32, layers=(1, 2), adapter_width=16)


def widths(text: int = 768) -> Widths:
    return Widths(image=768, text=text, joint=512, grid=(14, 14), blocks=12)


def trained_size(of: Widths) -> int:
    with torch.device("meta"):
        adapters = [Adapter(of.image, of.text, 256, beta=2.35, gate=0.0) for _ in range(10)]
        parts = [*adapters, PaperHead(of, 224)]
    return sum(weight.numel() for part in parts for weight in part.parameters())


def test_at_full_size_as_many_weights_are_trained_as_in_the_released_code() -> None:
    assert trained_size(widths()) == 18_677_268
    assert trained_size(widths(text=512)) == 17_366_548


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> OpenClipTowers:
    """Two towers of four blocks, on 32 pixels in patches of 8, with random weights."""
    folder = write_towers(tmp_path_factory.mktemp("clip"))
    return load_open_clip(replace(SMALL, folder=str(folder)), torch.device("cpu"))


def network(towers: OpenClipTowers, settings: MedClipSegSettings = SMALL, seed: int = 0) -> MedClipSeg:
    torch.manual_seed(seed)
    return assembled(settings, towers).eval()


def inputs(*texts: str) -> Inputs:
    torch.manual_seed(1)
    count = len(texts)
    return Inputs(pixels=torch.rand(count, 3, 32, 32), texts=texts, image_of=torch.arange(count))


def ask(asked: MedClipSeg, given: Inputs, samples: int = 1, seed: int | None = None) -> Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return asked.probability(given, samples, generator)


def test_without_noise_every_answer_is_the_same(towers: OpenClipTowers) -> None:
    silent = network(towers, replace(SMALL, noise=False))
    answers = ask(silent, inputs("a tumor"), 3, seed=5)
    assert torch.equal(answers[0], answers[2])
    assert torch.equal(answers[:1], ask(network(towers), inputs("a tumor")))


def test_with_noise_the_seed_decides_and_samples_differ(towers: OpenClipTowers) -> None:
    noisy = network(towers)
    one, same, other = (ask(noisy, inputs("a tumor"), 2, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, other)


def test_which_samples_share_a_pass_changes_nothing_but_rounding(towers: OpenClipTowers) -> None:
    together = network(towers, replace(SMALL, samples_at_once=5))
    alone = network(towers, replace(SMALL, samples_at_once=1))
    given = inputs("a tumor", "a much longer text about a polyp")
    assert torch.allclose(ask(together, given, 5, seed=3), ask(alone, given, 5, seed=3), atol=1e-5)


def test_the_mean_of_many_samples_settles_with_their_root(towers: OpenClipTowers) -> None:
    draws = ask(network(towers), inputs("a tumor"), 512, seed=0)[:, 0]
    spread = {count: draws.unflatten(0, (-1, count)).mean(dim=1).std(dim=0).mean() for count in (1, 4, 16)}
    assert spread[1] / spread[4] == pytest.approx(2, rel=0.15)
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.25)


def test_with_beta_0_attention_is_plain_attention_on_the_means() -> None:
    torch.manual_seed(0)
    attention = ProbabilisticAttention(8, beta=0.0, gate=0.0)
    asking, asked = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 5, 8)
    key, value = (
        norm(both.chunk(2, -1)[0])
        for norm, both in (
            (attention.norm_k, attention.k_proj(asked)),
            (attention.norm_v, attention.v_proj(asked)),
        )
    )
    plain = torch.nn.functional.scaled_dot_product_attention(attention.q_proj(asking), key, value)
    assert torch.allclose(attention(asking, asked, no_noise), 0.5 * attention.out_proj(plain) + 0.5 * asking, atol=1e-6)


def test_a_key_that_is_less_sure_gets_less_weight() -> None:
    attention = ProbabilisticAttention(4, beta=2.35, gate=0.0)
    with torch.no_grad():
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.zero_()
        attention.q_proj.bias.fill_(1.0)
        attention.k_proj.bias.zero_()
        attention.k_proj.weight[4:, 0] = 1.0
    weights = attention.weights(torch.zeros(1, 1, 1, 4), torch.tensor([[[[0.0, 0, 0, 0], [3.0, 0, 0, 0]]]]))
    assert weights[0, 0, 0, 0] > 2 * weights[0, 0, 0, 1]


def test_padding_of_a_shorter_text_changes_nothing(towers: OpenClipTowers) -> None:
    asked = network(towers)
    alone = ask(asked, inputs("a tumor"))
    beside_longer = ask(asked, inputs("a tumor", "a medium oval tumor at the top left of the breast in an ultrasound"))
    assert torch.allclose(alone[0, 0], beside_longer[0, 0], atol=1e-5)


def test_as_released_padding_is_attended(towers: OpenClipTowers) -> None:
    masked, released = (
        ask(network(towers, replace(SMALL, mask_pads=pads)), inputs("a tumor")) for pads in (True, False)
    )
    assert not torch.allclose(masked, released, atol=1e-4)


def batch() -> Batch:
    given = inputs("a tumor", "a polyp")
    masks = torch.zeros(2, 32, 32)
    masks[0, 4:12, 4:12] = 1
    return Batch(**vars(given), targets=("tumor", "polyp"), masks=masks, present=torch.tensor([True, False]))


def test_gradients_reach_adapters_and_head_and_nothing_frozen(towers: OpenClipTowers) -> None:
    trained = network(towers).train()
    trained(batch())["loss"].backward()
    assert {name.split(".")[0] for name, _ in trained.named_parameters()} == {"pvl_adapters", "head"}
    assert [name for name, weight in trained.named_parameters() if weight.grad is None] == []
    frozen = towers._network.parameters()
    assert all(weight.grad is None and not weight.requires_grad for weight in frozen)
    assert not any(module.training for module in towers._network.modules())


def test_silent_adapters_begin_by_changing_nothing(towers: OpenClipTowers) -> None:
    silent = network(towers, replace(SMALL, silent_start=True))
    without = network(towers, replace(SMALL, silent_start=True, layers=(3,)))
    without.head.load_state_dict(silent.head.state_dict())
    given = inputs("a tumor")
    assert torch.allclose(ask(silent, given, 1, seed=1), ask(without, given, 1, seed=2), atol=1e-5)


def test_soft_targets_are_the_likeness_of_texts_and_nearly_flat_as_released() -> None:
    texts = torch.tensor([[2.0, 0], [2.0, 0], [0, 2.0]])
    unit = texts / 2
    assert soft_targets(unit, 0.2)[0] == pytest.approx(torch.tensor([0.4983, 0.4983, 0.0034]).tolist(), abs=1e-3)
    released = soft_targets(texts, 0.2, released=True)
    assert released[0].max() / released[0].min() < torch.e


def test_the_contrast_is_least_where_patches_say_what_the_texts_say() -> None:
    texts = torch.eye(4)
    right, wrong = texts[:, None, :].expand(4, 3, 4), texts.flip(0)[:, None, :].expand(4, 3, 4)
    assert soft_contrast(right, texts, 0.2) < soft_contrast(wrong, texts, 0.2)


def test_dice_row_by_row_drops_the_first_row_and_counts_empty_rows_as_errors() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[0, :2] = 1
    assert rowwise_dice(truth, truth) == pytest.approx(0, abs=1e-6)
    assert rowwise_dice(truth * 0.999 + 0.001, truth) > 0.6


def test_noise_of_a_sample_does_not_depend_on_its_company() -> None:
    values = torch.zeros(1, 2, 3, 4)
    both = drawn_noise([torch.Generator().manual_seed(seed) for seed in (1, 2)])(values)
    second = drawn_noise([torch.Generator().manual_seed(2)])(values)
    assert torch.equal(both[1], second[0])


def test_towers_that_nobody_fetches_need_a_folder() -> None:
    with pytest.raises(BadInput, match="weights of clip are not fetched"):
        load_open_clip(CLIP, torch.device("cpu"))


def test_an_adapter_before_a_block_that_is_not_there_is_refused(towers: OpenClipTowers) -> None:
    with pytest.raises(BadInput, match="no block 10"):
        assembled(CLIP, towers)


def released_state(of: MedClipSeg) -> dict[str, Tensor]:
    """What the authors' code would save of a network and its towers; a gate has one axis there."""
    named = {name.removeprefix("head."): value + 1 for name, value in of.state_dict().items()}
    named = {name: value[None] if name.endswith(".gate") else value for name, value in named.items()}
    towers = of.towers
    assert isinstance(towers, OpenClipTowers)
    visual, text = towers._network.visual.state_dict(), towers._network.text.state_dict()
    return (
        named
        | {f"vision_model.{name}": value for name, value in visual.items()}
        | {f"text_model.{name}": value for name, value in text.items()}
        | {"text_model.transformer.embeddings.position_ids": torch.arange(3)}
    )


def test_a_checkpoint_with_the_released_names_fills_adapters_head_and_towers(towers: OpenClipTowers) -> None:
    given = network(towers, replace(SMALL, layers=(1,)), seed=0)
    trained, frozen = taken_apart(released_state(given))
    fill_trained(given, trained)
    assert {
        "pvl_adapters.0.proj_vis_down.0.weight",
        "pvl_adapters.0.two_way.cross_attn_img_to_txt.k_proj.weight",
        "pvl_adapters.0.two_way.cross_attn_txt_to_img.norm_v.bias",
        "head.mask_head.4.bias",
        "head.upscale.1.conv2.weight",
    } <= trained.keys()
    assert given.state_dict()["head.upscale.0.norm.weight"].mean() == 2
    assert frozen.keys() | {"logit_scale"} == towers._network.state_dict().keys()


def test_a_checkpoint_of_something_else_or_of_another_size_is_refused(towers: OpenClipTowers) -> None:
    with pytest.raises(BadInput, match=r"no checkpoint of MedCLIPSeg: it holds conv\.weight"):
        taken_apart({"pvl_adapters.0.x": torch.zeros(1), "conv.weight": torch.zeros(1)})
    trained, _ = taken_apart(released_state(network(towers, replace(SMALL, layers=(1,)))))
    with pytest.raises(BadInput, match="does not fit these settings"):
        fill_trained(network(towers), trained)
