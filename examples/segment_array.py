"""Segment an array of your own: any 2-D NumPy array becomes an image with a name and, if you know it, a spacing."""

from __future__ import annotations

import numpy as np
from pydicom import dcmread, examples

import medclipsam


def main() -> None:
    """Segment the liver in an MRI slice that comes with pydicom."""
    stored = dcmread(examples.get_path("overlay"))
    pixels = stored.pixel_array.astype(np.float32)
    image = medclipsam.image_from_array(pixels, name="mri", spacing_mm=tuple(map(float, stored.PixelSpacing)))

    result = medclipsam.load("embedded").segment(image, "liver")

    print(f"found: {result.found}, presence {result.presence:.2f}, {result.area_px} of {result.mask.size} pixels")
    print(f"mask {result.mask.shape} {result.mask.dtype}, saliency up to {result.saliency.max():.2f}, box {result.box}")


if __name__ == "__main__":
    main()
