"""Pictures by formula, and the same as HTJ2K codestreams in htj2k/, which another program than the decoder wrote.

python tests/htj2k_images.py     writes them anew with Debian's openjph-tools
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("htj2k")
LOSSLESS = ("grey8", "grey12", "grey16", "rgb8")


def picture(name: str) -> np.ndarray:
    """(23, 38) or (23, 38, 3): smooth, with an edge, and different in each corner and channel."""
    y, x = np.mgrid[:23, :38].astype(np.float64)
    wave = (np.sin(x / 5) + np.cos(y / 4 + x / 19) + 2) / 4 * 0.8
    wave[4:9, 20:33] += 0.2
    bits = int(name.removeprefix("lossy").strip("greyb"))
    channels = [wave, wave[::-1], wave[:, ::-1]] if "rgb" in name else [wave]
    samples = np.rint(np.stack(channels, axis=-1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return samples if "rgb" in name else samples[..., 0]


def codestream(name: str) -> bytes:
    """The HTJ2K codestream of a picture."""
    return (FOLDER / f"{name}.j2c").read_bytes()


def write(name: str) -> None:
    samples = picture(name)
    bits = int(name.removeprefix("lossy").strip("greyb"))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / ("x.ppm" if samples.ndim == 3 else "x.pgm")
        head = f"{'P6' if samples.ndim == 3 else 'P5'} {samples.shape[1]} {samples.shape[0]} {2**bits - 1}\n"
        image.write_bytes(head.encode() + samples.astype(samples.dtype.newbyteorder(">")).tobytes())
        reversible = ["-reversible", "false", "-qstep", "0.002"] if "lossy" in name else ["-reversible", "true"]
        command = ["ojph_compress", "-i", str(image), "-o", str(FOLDER / f"{name}.j2c"), "-num_decomps", "3"]
        subprocess.run([*command, *reversible], check=True, capture_output=True)


if __name__ == "__main__":
    for name in (*LOSSLESS, "lossygrey8", "lossyrgb8"):
        write(name)
