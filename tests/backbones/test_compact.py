"""The embedded model's towers: the cut, the storage, and the company of a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import CHANNELS, OUTLINE, SENTENCE, CompactShape, CompactTower, outlined, strokes_of
from medclipsam.backbones.compact_clip import CompactClip, load_tower, to_bytes
from medclipsam.backbones.graphs import Part, Tower, Weigh
from medclipsam.backbones.graphs import save as save_graphs
from medclipsam.backbones.minilm import Bert, SentenceEncoder
from medclipsam.backbones.pixel_network import PixelNetwork
from medclipsam.engines import opener
from medclipsam.errors import BadInput
from medclipsam.types import MedImage
from medclipsam.weights import find

SMALL = CompactShape(width=32, blocks=3, heads=4, fine=16, detail=8, embedding=24)
BLACK = torch.zeros(1, 256, 256, 3)


def small_tower() -> CompactTower:
    torch.manual_seed(0)
    return CompactTower(SMALL).eval()


def test_the_cut_at_any_block_gives_the_same_embedding() -> None:
    tower, features = small_tower(), torch.randn(2, 64, 64, CHANNELS)
    whole = tower.pool(tower.tokens(features, 3))
    for layer in range(3):
        assert torch.allclose(tower.pool(tower.advance(tower.tokens(features, layer), layer, 3)), whole, atol=1e-6)


def test_blocks_that_were_added_change_nothing_and_can_learn_and_are_stored(tmp_path) -> None:
    tower, features = small_tower(), torch.randn(2, 64, 64, CHANNELS)
    before = tower.tokens(features, 3)
    tower.grow(5)
    assert len(tower.blocks) == tower.shape.blocks == 5
    after = tower.tokens(features, 5)
    assert torch.equal(after, before)
    after.square().sum().backward()
    assert all(block.proj.weight.grad.abs().sum() > 0 for block in tower.blocks[3:])
    (tmp_path / "tower.safetensors").write_bytes(to_bytes(tower))
    assert load_tower(tmp_path / "tower.safetensors").shape.blocks == 5
    tower.grow(2)
    assert len(tower.blocks) == 5


def test_cells_lie_where_their_features_lie() -> None:
    tower, features = small_tower(), torch.zeros(1, 64, 64, CHANNELS)
    tokens = tower.tokens(features, 3)
    plain = tower.own(tokens, features, BLACK).cells
    features[0, 5, 40] = 1.0
    change = (tower.own(tokens, features, BLACK).cells - plain).norm(dim=-1)[0]
    assert divmod(int(change.argmax()), 64) == (5, 40)


def test_cells_have_unit_length() -> None:
    tower, features = small_tower(), torch.randn(1, 64, 64, CHANNELS)
    cells = tower.view(features, BLACK).cells
    assert torch.allclose(cells.norm(dim=-1), torch.ones(1, 64, 64), atol=1e-5)


def test_strokes_lie_where_their_pixels_lie_and_an_untrained_outline_draws_none() -> None:
    tower, features, pixels = small_tower(), torch.randn(1, 64, 64, CHANNELS), torch.zeros(1, 256, 256, 3)
    text = torch.randn(2, SMALL.embedding)
    maps, presence = tower.answer(tower.view(features, pixels), text)
    coarse = tower.settled(tower.dense_logits(tower.view(features, pixels).cells, text))
    assert torch.equal(maps, F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False))
    torch.nn.init.normal_(tower.outline.ask.weight)
    plain = tower.answer(tower.view(features, pixels), text)[0]
    pixels[0, 100:102, 40:42] = 1.0
    changed, same = tower.answer(tower.view(features, pixels), text)
    assert divmod(int((changed - plain).abs()[0, 1].argmax()), OUTLINE) == (50, 20)
    assert torch.equal(presence, same)


def test_the_strokes_of_some_pairs_are_those_of_all() -> None:
    tower = small_tower()
    torch.nn.init.normal_(tower.outline.ask.weight)
    outline, text = torch.randn(2, OUTLINE, OUTLINE, SMALL.outline), torch.randn(3, SMALL.embedding)
    pairs = torch.tensor([[True, False, True], [False, True, False]])
    every = tower.strokes(outline, text)
    assert torch.allclose(strokes_of(pairs, outline, tower.asked(text)), every[pairs], atol=1e-4)


def test_maps_on_the_finer_grid_keep_batch_and_texts_apart() -> None:
    maps, strokes = torch.randn(2, 3, 64, 64), torch.zeros(2, 3, OUTLINE, OUTLINE)
    strokes[1, 2] = 1
    found = outlined(maps, strokes)
    for image, text in ((0, 0), (1, 2)):
        assert torch.allclose(
            found[image, text], outlined(maps[image, text][None, None], strokes[image, text][None, None])[0, 0]
        )


def test_a_stored_tower_comes_back_in_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    tower = small_tower()
    tower.know(F.normalize(torch.randn(3, SENTENCE), dim=-1), torch.tensor([0, -1, 0]), torch.tensor([1.0, -1, 0]))
    path.write_bytes(to_bytes(tower))
    loaded = load_tower(path)
    assert loaded.shape == SMALL
    assert loaded.says_left.norm() > 0.1
    for name, value in tower.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], value, atol=2e-3), name


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    path.write_bytes(b"not a model at all")
    with pytest.raises(BadInput, match="is not an embedded model"):
        load_tower(path)


def test_sentences_mean_what_they_say() -> None:
    encoder = SentenceEncoder(find("minilm").folder)
    breast, mammary, liver = encoder.encode(["breast tumor", "a lump in the breast", "liver"])
    assert breast @ mammary > 0.7
    assert breast @ liver < 0.5
    assert torch.allclose(breast.norm(), torch.tensor(1.0), atol=1e-5)


def test_the_company_of_a_sentence_changes_only_its_rounding() -> None:
    encoder = SentenceEncoder(find("minilm").folder)
    together = encoder.encode(["polyp", "a much longer sentence about the left ventricle of the heart"])
    assert torch.allclose(together[0], encoder.encode(["polyp"])[0], atol=1e-5)


def test_no_sentences_give_no_vectors() -> None:
    assert SentenceEncoder(find("minilm").folder).encode([]).shape == (0, 384)


@pytest.fixture(scope="module")
def their_hidden() -> Callable[[Tensor, Tensor], Tensor]:
    """The same weights in the BERT of `transformers`."""
    from transformers.models.bert.modeling_bert import BertConfig, BertModel

    folder = find("minilm").folder
    model = BertModel(BertConfig.from_json_file(str(folder / "config.json")), add_pooling_layer=False).eval()
    unused = ("pooler.", "embeddings.position_ids")
    state = load_file(folder / "model.safetensors").items()
    model.load_state_dict({name: value for name, value in state if not name.startswith(unused)})
    return lambda ids, real: model(input_ids=ids, attention_mask=real.long()).last_hidden_state


@pytest.mark.parametrize("lengths", [[4], [128], [3, 9, 40]])
@torch.no_grad()
def test_hidden_states_are_those_of_transformers_to_the_bit(
    their_hidden: Callable[[Tensor, Tensor], Tensor], lengths: list[int]
) -> None:
    ours = Bert(load_file(find("minilm").folder / "model.safetensors"))
    ids = torch.randint(999, 30000, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(0))
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    assert torch.equal(ours.hidden(ids, real)[real], their_hidden(ids, real)[real])


@pytest.mark.parametrize("left_out", ["named", "outline.ask.weight"])
def test_a_tower_of_before_is_refused_in_one_line(tmp_path: Path, left_out: str) -> None:
    tower, path = small_tower(), tmp_path / "compact.safetensors"
    tower.know(torch.randn(3, SENTENCE))
    state = {name: value for name, value in tower.state_dict().items() if name != left_out}
    path.write_bytes(save(state, metadata={"shape": json.dumps(tower.shape.as_dict())}))
    with pytest.raises(BadInput, match="is not an embedded model of this version"):
        load_tower(path)


def test_a_tower_that_was_stored_before_sides_were_told_apart_tells_none_apart(tmp_path: Path) -> None:
    tower, path = small_tower(), tmp_path / "compact.safetensors"
    tower.know(torch.randn(3, SENTENCE))
    state = {name: value for name, value in tower.state_dict().items() if name != "says_left"}
    path.write_bytes(save(state, metadata={"shape": json.dumps(tower.shape.as_dict())}))
    assert not load_tower(path).says_left.any()


class Frames:
    """In the place of LiteMedSAM: the frame is the image, and every encoding is alike."""

    framing, device = SimpleNamespace(side=256), torch.device("cpu")

    def frame(self, image: MedImage) -> Tensor:
        framed = torch.zeros(1, 3, 256, 256)
        framed[0, :, : image.size[0], : image.size[1]] = torch.from_numpy(image.pixels).permute(2, 0, 1)
        return framed

    def set_image(self, image: MedImage) -> SimpleNamespace:
        return SimpleNamespace(features=torch.zeros(1, 256, 64, 64))


def test_a_bright_spot_of_an_image_that_is_not_square_is_drawn_where_it_lies() -> None:
    tower = small_tower()
    torch.nn.init.normal_(tower.outline.ask.weight)
    clip = CompactClip(Frames(), tower, None, identity="")  # type: ignore[arg-type]
    pixels, text = np.zeros((140, 256, 3), np.float32), torch.randn(SMALL.embedding)
    plain, _ = clip.compare(clip.view(MedImage(pixels=pixels, name="dark")), text)
    pixels[30:32, 200:202] = 1
    found, _ = clip.compare(clip.view(MedImage(pixels=pixels, name="spot")), text)
    assert divmod(int((found - plain).abs().argmax()), OUTLINE) == (15, 100)


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("widths", [(), (8, 16, 16)])
@torch.no_grad()
def test_exported_graphs_draw_what_the_tower_draws(tmp_path: Path, widths: tuple[int, ...]) -> None:
    from medclipsam.engines.openvino import compile_graph

    tower = small_tower()
    if widths:
        tower.take(PixelNetwork(widths, SMALL.embedding).eval())
    for layer in (tower.outline.ask, tower.level):
        torch.nn.init.normal_(layer.weight)
    features, pixels, text = torch.randn(1, 256, 64, 64), torch.rand(1, 3, 256, 256), torch.randn(SMALL.embedding)
    parts = {
        "tower": Part(network=Tower(tower), example=(features, pixels)),
        "weigh": Part(network=Weigh(tower), example=(*Tower(tower)(features, pixels), text)),
    }
    save_graphs(parts, "openvino", tmp_path)
    for name in parts:
        compile_graph(tmp_path / f"{name}.xml", "fp32", 1)
    open_graph = opener("openvino")
    graphs = {name: open_graph(tmp_path / f"{name}.xml", "fp32", 1) for name in parts}
    cells, outline = graphs["tower"](features.numpy(), pixels.numpy())
    maps, presence = graphs["weigh"](cells, outline, text.numpy())
    expected, there = tower.answer(tower.view(tower.reduce(features), pixels.permute(0, 2, 3, 1)), text[None])
    assert np.abs(maps.reshape(OUTLINE, OUTLINE) - expected[0, 0].numpy()).max() < 1e-3
    assert float(presence.reshape(-1)[0]) == pytest.approx(float(there.sigmoid()), abs=1e-4)
