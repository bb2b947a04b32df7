"""Segment slices of a NIfTI volume and write one mask volume that lies on it, voxel for voxel."""

from __future__ import annotations

import argparse
from pathlib import Path

from nibabel.testing import data_path

import medclipsam
from medclipsam.io import count_images, write_volume_mask


def main(volume: Path, prompt: str, slices: range, output: Path) -> None:
    """Write `output`.nii.gz: the masks of some slices of `volume`, empty elsewhere."""
    segmenter = medclipsam.load("embedded")
    masks = {}
    for index in slices:
        image = medclipsam.read_image(volume, slice_index=index)
        result = segmenter.segment(image, prompt)
        masks[image.origin.index] = result.mask
        print(f"slice {index}: {result.area_px} pixels, presence {result.presence:.2f}")
    written = write_volume_mask(image.origin.volume, masks, output)
    print(f"wrote {written.name}, {len(slices)} of {count_images(volume)} slices")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", nargs="?", type=Path, default=Path(data_path) / "anatomical.nii")
    parser.add_argument("--prompt", default="brain tumor")
    parser.add_argument("--slices", nargs=2, type=int, default=(11, 13), metavar=("FIRST", "END"))
    parser.add_argument("--output", type=Path, default=Path("volume_mask"))
    given = parser.parse_args()
    main(given.volume, given.prompt, range(*given.slices), given.output)
