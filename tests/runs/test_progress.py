"""How far a run is can be read from its folder alone, while it runs, and after."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from bright import BrightSegmenter
from run_folders import silent

from medclipsam.runs import LabelRequest, Shard, Summary, label_folder
from medclipsam.runs.progress import EXPECTED, Follower


def test_a_run_is_followed_from_nothing_to_its_end(scans: Path, out: Path) -> None:
    ticks = count(0, 10)
    follower = Follower(out, clock=lambda: float(next(ticks)))
    seen = [follower.look()]

    def tell(stage: str, done: int, total: int) -> None:
        if stage == "labelling":
            seen.append(follower.look())

    request = LabelRequest(source=scans, output=out, prompts=("tumor",))
    label_folder(request, BrightSegmenter, tell)
    first, *middle = seen
    assert (first.done, first.total, first.finished, first.counts) == (0, None, False, {})
    assert [(look.done, look.total) for look in middle] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert middle[1].rate == pytest.approx(1 / 20)
    assert middle[1].seconds_left == pytest.approx(2 * 20)
    assert not (out / EXPECTED).exists()
    last = follower.look()
    assert (last.done, last.total, last.finished, dict(last.counts)) == (3, 3, True, {"done": 2, "refused": 1})
    assert [record.file for record in last.refusals] == ["broken.png"]
    assert {record.file for record in last.latest} == {"a.png", "u/b.png"}
    assert Follower(out).look().done == 3


def test_shards_are_counted_together(label: Callable[..., Summary], out: Path) -> None:
    follower, seen = Follower(out), []
    for index in range(1, 5):
        label("tumor", shard=Shard(index, 4))
        seen.append(follower.look())
    assert [look.total for look in seen] == [3] * 4
    assert [look.done for look in seen] == sorted(look.done for look in seen)
    assert [look.finished for look in seen] == [look.done == 3 for look in seen]
    assert seen[-1].finished


def test_answers_of_other_settings_are_not_counted(scans: Path, out: Path) -> None:
    request = LabelRequest(source=scans, output=out, prompts=("tumor",))
    label_folder(request, BrightSegmenter, silent)
    seen = []

    def tell(stage: str, done: int, total: int) -> None:
        if stage == "labelling":
            seen.append(Follower(out).look().done)

    label_folder(LabelRequest(source=scans, output=out, prompts=("tumor",), always=True), BrightSegmenter, tell)
    assert seen == [0, 1, 2, 3]


def test_only_pictures_that_a_record_names_are_given(label: Callable[..., Summary], out: Path, tmp_path: Path) -> None:
    label("tumor")
    follower = Follower(out)
    follower.look()
    names = [path.relative_to(out).as_posix() for path in (out / "overlays").rglob("*.jpg")]
    assert all(follower.picture(name) == out / name for name in names)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (out / "overlays" / "x.jpg").write_bytes(b"no record's")
    for name in ("run.json", "overlays/x.jpg", "../secret.jpg", "masks/tumor/a.png"):
        assert follower.picture(name) is None
    (out / names[0]).unlink()
    (out / names[0]).symlink_to(secret)
    assert follower.picture(names[0]) is None
