"""The pixel network: what it adds to a tower's maps, and that a file keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from medclipsam.backbones.compact import CHANNELS, CompactShape, CompactTower, outlined
from medclipsam.backbones.compact_clip import load_tower, to_bytes
from medclipsam.backbones.pixel_network import PixelNetwork
from medclipsam.errors import BadInput

SMALL = CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=24)
WIDTHS = (8, 16, 16)


def small_tower(*, drawn: bool) -> CompactTower:
    torch.manual_seed(0)
    tower = CompactTower(SMALL)
    if drawn:
        torch.manual_seed(1)
        tower.take(PixelNetwork(WIDTHS, SMALL.embedding))
    return tower.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tower() -> CompactTower:
    return small_tower(drawn=True)


@pytest.fixture(scope="module")
def seen() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(2, 64, 64, CHANNELS), torch.rand(2, 256, 256, 3), F.normalize(torch.randn(3, 24), dim=-1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_its_maps_are_added_by_their_share(tower, seen, share) -> None:
    features, pixels, text = seen
    tower.pixels.share.fill_(share)
    maps, presence = tower.answer(tower.view(features, pixels), text)
    plain, before = small_tower(drawn=False).answer(small_tower(drawn=False).view(features, pixels), text)
    tower.pixels.share.fill_(1)
    cells, outline = tower.pixels.sketch(pixels)
    sought = tower.pixels.sought(text)
    strokes = torch.einsum("bhwd,kd->bkhw", outline, sought.outline)
    added = outlined(tower.pixels.maps(cells, sought), strokes)
    assert added.std() > 0.01
    assert torch.allclose(maps, plain + share * added, atol=1e-4)
    assert torch.allclose(presence, before, atol=1e-5)
    tower.pixels.share.fill_(share)
    tower.presence.judge[0].weight[:, 3:] += 0.1
    heard = tower.answer(tower.view(features, pixels), text)[1]
    tower.presence.judge[0].weight[:, 3:] -= 0.1
    assert torch.allclose(heard, before, atol=1e-5) == (share == 0)


def test_what_it_sees_of_an_image_lies_where_its_pixels_lie(tower, seen) -> None:
    _, pixels, _ = seen
    plain = tower.pixels.sketch(pixels[:1])
    changed = pixels[:1].clone()
    changed[0, 40:44, 200:204] = 1 - changed[0, 40:44, 200:204].round()
    for grid, before, after in zip((64, 128), plain, tower.pixels.sketch(changed), strict=True):
        moved = (after - before).norm(dim=-1)[0]
        row, column = divmod(int(moved.argmax()), grid)
        assert (abs(row * 256 / grid - 42), abs(column * 256 / grid - 202)) < (12, 12)


def test_cells_say_all_that_a_map_says_but_its_outlines(tower, seen) -> None:
    """Presence and level hear the cells alone."""
    _, pixels, text = seen
    network, coarse = tower.pixels, tower.pixels.unet.widths[1]
    cells, outline = network.sketch(pixels)
    sought = network.sought(text)
    strokes = torch.einsum("bhwd,kd->bkhw", outline, sought.outline)
    folded = F.pixel_unshuffle(2 * pixels.permute(0, 3, 1, 2) - 1, 2)
    first, second, *_ = network.unet.levels(folded.contiguous())
    whole = torch.einsum("bdhw,kd->bkhw", first, sought.outline)
    below = torch.einsum("bdhw,kd->bkhw", second, sought.cells[:, :coarse]) + network.share * network.bias
    drawn = outlined(network.maps(cells, sought), strokes)
    assert torch.allclose(drawn, outlined(below, whole), atol=1e-4)
    assert (network.maps(cells, sought) - below - F.avg_pool2d(whole, 2)).abs().max() < 1e-4
    assert F.avg_pool2d(strokes, 2).std() < 0.5 * F.avg_pool2d(whole, 2).std()


def test_the_tower_alone_is_asked_where_cells_have_nothing_of_it(tower, seen) -> None:
    features, pixels, text = seen
    own = tower.own(tower.tokens(features, 1), features, pixels)
    plain = small_tower(drawn=False)
    expected = plain.dense_logits(plain.view(features, pixels).cells, text)
    assert torch.allclose(tower.dense_logits(own.cells, text), expected, atol=1e-5)


def test_a_file_keeps_it_in_eight_bits_and_draws_the_same(tower, seen, tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    tower.pixels.share.fill_(0.5)
    path.write_bytes(to_bytes(tower))
    loaded = load_tower(path).eval()
    assert loaded.shape == tower.shape
    assert loaded.shape.pixels == WIDTHS
    features, pixels, text = seen
    maps = [each.answer(each.view(features, pixels), text)[0] for each in (tower, loaded)]
    assert (maps[0] - maps[1]).abs().max() < 0.02 * maps[0].std()
    again = tmp_path / "again.safetensors"
    again.write_bytes(to_bytes(loaded))
    assert again.read_bytes() == path.read_bytes()
    numbers = sum(weight.numel() for weight in tower.pixels.parameters())
    assert len(path.read_bytes()) - len(to_bytes(small_tower(drawn=False))) < 1.5 * numbers + 8000


def test_a_file_whose_heads_heard_less_of_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    for drawn in (True, False):
        tower = small_tower(drawn=drawn)
        path.write_bytes(to_bytes(tower))
        state = load_file(path)
        save_file(state, path, metadata={"shape": json.dumps(tower.shape.as_dict())})
        if drawn:
            with pytest.raises(BadInput, match="not an embedded model of this version"):
                load_tower(path)
        else:
            assert load_tower(path).pixels is None


def test_no_head_hears_of_a_network_that_takes_the_place_of_another() -> None:
    tower = small_tower(drawn=True)
    with torch.no_grad():
        for layer in (tower.presence.judge[0], tower.level):
            layer.weight.fill_(1)
    tower.take(PixelNetwork(WIDTHS, SMALL.embedding))
    for layer in (tower.presence.judge[0], tower.level):
        assert torch.equal(layer.weight, torch.tensor([1.0] * 3 + [0.0] * 3).expand_as(layer.weight))


def test_a_row_of_zeros_is_kept_and_a_file_without_a_network_says_so_by_its_shape(tmp_path: Path) -> None:
    tower, path = small_tower(drawn=True), tmp_path / "compact.safetensors"
    tower.pixels.unet.down[0][0].weight[0] = 0
    path.write_bytes(to_bytes(tower))
    assert torch.equal(load_tower(path).pixels.unet.down[0][0].weight[0], torch.zeros(12, 3, 3))
    tower.take(None)
    path.write_bytes(to_bytes(tower))
    bare = load_tower(path)
    assert bare.pixels is None
    assert bare.shape == SMALL


def test_the_number_of_threads_changes_no_bit(tower, seen) -> None:
    threads, found = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(tower.sketch(seen[1]))
    torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for more in found[1:] for one, other in zip(found[0], more, strict=True))
