"""Does a team of workers on Ray make the folder of one process, whatever dies on the way?"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter
from deadly import Deadly
from run_folders import records_of, save_scan, silent, tree

from medclipsam.errors import BadInput, MissingExtra, MissingWeights
from medclipsam.runs import LabelRequest, Shard, Summary, label_folder
from medclipsam.runs.ray import RayEngine

Label = Callable[..., Summary]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayEngine]:
    """Two workers on this machine, who find what the tests share."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    engine, here = RayEngine(workers=2, device="cpu"), Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
        with engine._cluster():
            yield engine


@pytest.fixture
def on_ray(scans: Path, out: Path, cluster: RayEngine) -> Label:
    """Label the scans, and six more, with two workers."""
    for index in range(6):
        save_scan(scans / f"more{index}.png", top=index)

    def run(load: Callable[[], Any] = BrightSegmenter, **asked: Any) -> Summary:
        request = LabelRequest(
            **{"source": scans, "output": out, "prompts": ("tumor", "unicorn"), "safe_names": True, **asked}
        )
        return label_folder(request, load, silent, cluster)

    return run


@pytest.mark.slow
def test_workers_shards_and_one_process_make_the_same_folder(on_ray: Label, label: Label, out: Path) -> None:
    alone, sharded = out.with_name("alone"), out.with_name("sharded")
    summary = on_ray(ignore_band=0.1)
    assert summary.counts == {"done": 8, "not found": 8, "refused": 2}
    assert summary.joined
    label("tumor", "unicorn", ignore_band=0.1, output=alone)
    for index in (1, 2, 3):
        label("tumor", "unicorn", ignore_band=0.1, output=sharded, shard=Shard(index, 3))
    assert tree(out) == tree(alone) == tree(sharded)
    again = on_ray(ignore_band=0.1)
    assert (again.kept, again.counts) == (16, summary.counts)
    assert label("tumor", "unicorn", ignore_band=0.1).kept == 16
    assert tree(out) == tree(alone)


@pytest.mark.slow
def test_slices_of_a_volume_inform_each_other_on_ray_as_in_one_process(
    on_ray: Label, label: Label, scans: Path, out: Path
) -> None:
    voxels = np.zeros((30, 20, 4), np.float32)
    voxels[8:14, 4:9, 0:2] = voxels[20:22, 4:9, 3] = 1.0
    nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), scans / "v.nii.gz")
    on_ray(prompts=("tumor",))
    label("tumor", output=out.with_name("alone"))
    assert tree(out) == tree(out.with_name("alone"))
    assert [picture.area_px for picture in records_of(out)["v"].pictures] == [30, 30, 0, 0]


@pytest.mark.slow
def test_the_embedded_preset_gives_the_same_bits_on_ray_in_shards_and_with_more_threads(
    on_ray: Label, label: Label, out: Path
) -> None:
    def load() -> Any:
        import medclipsam

        return medclipsam.load("embedded", device="cpu")

    import torch

    asked = {"always": True, "ignore_band": 0.2}
    alone, sharded, before = out.with_name("alone"), out.with_name("sharded"), torch.get_num_threads()
    assert on_ray(load, **asked).counts["done"] >= 8
    torch.set_num_threads(2)
    try:
        label("tumor", "unicorn", segmenter=load(), output=alone, **asked)
    finally:
        torch.set_num_threads(before)
    for index in (1, 2, 3):
        label("tumor", "unicorn", segmenter=load(), output=sharded, shard=Shard(index, 3), **asked)
    assert tree(out) == tree(alone) == tree(sharded)


@pytest.mark.slow
def test_the_files_of_a_worker_that_dies_are_done_by_another(on_ray: Label, label: Label, out: Path) -> None:
    mark = out.with_name("mark")
    mark.write_bytes(b"x")
    assert on_ray(lambda: Deadly(mark)).counts == {"done": 8, "not found": 8, "refused": 2}
    assert mark.read_bytes() == b""
    label("tumor", "unicorn", output=out.with_name("alone"))
    assert tree(out) == tree(out.with_name("alone"))


@pytest.mark.slow
def test_a_file_that_kills_every_worker_is_recorded_and_stops_nothing(on_ray: Label, out: Path) -> None:
    mark = out.with_name("mark")
    mark.write_bytes(b"x" * 99)
    assert on_ray(lambda: Deadly(mark)).counts == {"done": 7, "not found": 7, "refused": 2, "failed": 2}
    assert records_of(out)["b tumor"].reason == "3 workers died over it"
    assert [name for name in tree(out) if "/b-" in name] == []
    mark.write_bytes(b"")
    assert on_ray(lambda: Deadly(mark)).kept == 14
    assert records_of(out)["b tumor"].status == "done"


@pytest.mark.slow
def test_a_cluster_of_this_machine_alone_listens_on_the_loopback(cluster: RayEngine) -> None:
    import ray

    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


@pytest.mark.slow
def test_what_a_worker_lacks_is_told_as_if_it_were_this_process(on_ray: Label, out: Path) -> None:
    def lacking() -> BrightSegmenter:
        raise MissingWeights("weights 'x' are not on this machine", "get them")

    with pytest.raises(MissingWeights, match=r"^weights 'x' are not on this machine; get them$"):
        on_ray(lacking)
    assert not out.exists()


def test_without_ray_the_extra_is_named(scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    request = LabelRequest(source=scans, output=out, prompts=("tumor",))
    with pytest.raises(MissingExtra, match=r"medclipsam\[ray\]"):
        label_folder(request, BrightSegmenter, silent, RayEngine())


@pytest.mark.parametrize("asked", [{"workers": 0}, {"device": "cuda:1"}])
def test_what_no_cluster_can_give_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="give"):
        RayEngine(**asked)
