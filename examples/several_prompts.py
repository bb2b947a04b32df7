"""Ask several things of one image: the image is encoded once, so every prompt after the first is quick."""

from __future__ import annotations

from time import perf_counter

from pydicom import examples

import medclipsam


def main() -> None:
    """Ask four things of an MRI slice; the last is nothing that it can show."""
    image = medclipsam.read_image(examples.get_path("overlay"))
    segmenter = medclipsam.load("embedded")
    for prompt in ("liver", "kidney", "spleen", "optic disc"):
        began = perf_counter()
        result = segmenter.segment(image, prompt)
        answer = f"{result.area_px} pixels in {result.box}" if result.found else "not found"
        print(f"{prompt}: {answer}, presence {result.presence:.2f}, {perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
