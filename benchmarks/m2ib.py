"""How much faster and smaller is our M2IB than the plain procedure, and is it the same map?

The plain procedure is what the released code does for one image and one prompt: a probe of the tower, then ten steps,
each with ten copies of the pixels and of the prompt through both towers whole, and gradients for every weight. Ours
encodes the prompt once, runs the blocks up to the bottleneck once, and differentiates the gate alone. Both start from
pixels and the prompt and get the same noise, each in a process of its own, so that its peak memory is its own. How many
times fewer products it takes is counted too: what the same arithmetic can gain, at the speed of the plain procedure.

    python benchmarks/m2ib.py FOLDER [--layers 9 7] [--threads 2] [--seed 0] [--write TABLE.md]

FOLDER holds the configuration and tokenizer of an open_clip model with a timm tower (BiomedCLIP's for the table of the
README); the weights are random, so none need be there.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CustomTextCLIP
from setting import machine, versions
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import ClipModel
from medclipsam.config import M2IB
from medclipsam.prompting.saliency import InformationBottleneck
from medclipsam.runtime import generator_for

PROMPT = (
    "A medical breast mammogram showing an irregularly shaped, spiculated mass suggestive of a malignant breast tumor."
)
PACKAGES = ("torch", "open_clip_torch", "timm", "transformers", "numpy")


class NoisyGate:
    """The plain procedure's bottleneck: a hook on one block that mixes its output with noise."""

    def __init__(self, tokens: Tensor, settings: M2IB, generator: torch.Generator) -> None:
        self.alpha = torch.full_like(tokens, settings.initial_alpha).requires_grad_()
        self.samples, self.generator = settings.samples, generator
        self.information = torch.zeros_like(tokens)

    def __call__(self, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        gate = torch.sigmoid(self.alpha)
        noise = torch.randn((self.samples, *output.shape[1:]), generator=self.generator)
        mean, deviation = gate * output, 1 - gate
        self.information = -torch.log(deviation) + (mean**2 + deviation**2 - 1) / 2
        return mean + deviation * noise


def plain_map(
    network: CustomTextCLIP,
    block: nn.Module,
    pixels: Tensor,
    ids: Tensor,
    *,
    settings: M2IB,
    generator: torch.Generator,
) -> Tensor:
    """(rows * columns,) from pixels (1, 3, side, side) and ids (1, length), as the released procedure goes.

    `block` is the network's own at `settings.layer`; the tower has one class token.
    """
    network.requires_grad_(True)
    seen: list[Tensor] = []
    probe = block.register_forward_hook(lambda block, inputs, output: seen.append(output.detach()))
    network.encode_image(pixels)
    probe.remove()
    gate = NoisyGate(seen[0], settings, generator)
    adam = torch.optim.Adam([gate.alpha], lr=settings.learning_rate)
    hook = block.register_forward_hook(gate)
    for _ in range(settings.steps):
        adam.zero_grad()
        image = network.encode_image(pixels.expand(settings.samples, -1, -1, -1))
        text = network.encode_text(ids.expand(settings.samples, -1))
        relevance = F.cosine_similarity(text, image, dim=-1, eps=1e-6).mean()
        (settings.beta * gate.information.mean() - relevance).backward()
        adam.step()
    hook.remove()
    heat = gate.information.detach()[0].nansum(dim=-1)[1:]
    return (heat - heat.min()) / (heat.max() - heat.min())


def our_map(model: ClipModel, pixels: Tensor, prompt: str, settings: M2IB, generator: torch.Generator) -> Tensor:
    """(rows * columns,) the short way."""
    tokens = model.lower(pixels, settings.layer)
    explainer = InformationBottleneck(settings=settings)
    return explainer.explain(model, tokens, model.encode_text([prompt]), [generator]).flatten()


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds, and MiB of peak memory beyond the loaded model, of one map; the map goes to a file."""
    layer, seed = arguments.layers[0], arguments.seed
    torch.manual_seed(seed)
    network = architecture.build(arguments.folder)
    tokenizer = architecture.Tokenizer(arguments.folder)
    model = ClipModel(network, tokenizer, identity="random")
    ids = tokenizer([PROMPT])
    ids = ids[:, : int((ids != 0).sum())]
    settings = M2IB(layer=layer)
    pixels = F.interpolate(torch.randn(1, 3, 28, 28, generator=generator_for(seed, "scan")), model.side, mode="bicubic")
    block, generator = network.visual.trunk.blocks[layer], generator_for(seed, "noise")
    runs: dict[str, Callable[[M2IB], Tensor]] = {
        "plain": lambda chosen: plain_map(network, block, pixels, ids, settings=chosen, generator=generator),
        "ours": lambda chosen: our_map(model, pixels, PROMPT, chosen, generator),
    }
    model.lower(pixels, 0)
    gc.collect()
    loaded = resident_mib()
    started = time.perf_counter()
    heat = runs[arguments.measure](settings)
    seconds, mib = time.perf_counter() - started, peak_mib() - loaded
    np.save(arguments.keep, heat.numpy())
    return {"seconds": seconds, "mib": mib, "products": products(runs[arguments.measure], settings)}


def products(run: Callable[[M2IB], Tensor], settings: M2IB) -> float:
    """Multiplications and additions of matrix products in one map: those of one step, and of each further one alike."""
    counted = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            run(replace(settings, steps=steps))
        counted.append(counter.get_total_flops())
    return counted[0] + (settings.steps - 1) * (counted[1] - counted[0])


def resident_mib() -> float:
    """Memory of this process now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mib() -> float:
    """The most memory that this process ever held (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def in_own_process(arguments: argparse.Namespace, kind: str, layer: int, keep: Path) -> dict[str, float]:
    """Run `measure` in a fresh interpreter."""
    command = [sys.executable, __file__, str(arguments.folder), "--threads", str(arguments.threads)]
    command += ["--seed", str(arguments.seed), "--layers", str(layer), "--measure", kind, "--keep", str(keep)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> str:
    """The Markdown table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for layer in arguments.layers:
            kept = {kind: Path(folder) / f"{kind}{layer}.npy" for kind in ("plain", "ours")}
            found = {kind: in_own_process(arguments, kind, layer, path) for kind, path in kept.items()}
            maps = [np.load(path) for path in kept.values()]
            plain, ours = found["plain"], found["ours"]
            rows.append(
                f"| {layer} | {plain['seconds']:.1f} s | {ours['seconds']:.2f} s "
                f"| **{plain['seconds'] / ours['seconds']:.1f}** | {plain['products'] / ours['products']:.1f} "
                f"| {plain['mib']:.0f} MiB | {ours['mib']:.0f} MiB "
                f"| **{plain['mib'] / ours['mib']:.1f}** | {np.corrcoef(*maps)[0, 1]:.7f} "
                f"| {np.abs(maps[0] - maps[1]).max():.1e} |"
            )
    head = [
        "| layer | plain | ours | times faster | times fewer products | plain memory | ours | times less "
        "| correlation | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([setting(arguments), "", *head, *rows]) + "\n"


def setting(arguments: argparse.Namespace) -> str:
    """Under what conditions the figures hold."""
    return (
        f"One map of one image and one prompt; memory beyond the loaded weights. {machine()}, "
        f"{arguments.threads} threads, float32, random weights, seed {arguments.seed}. "
        f"Python {platform.python_version()}, {versions(*PACKAGES)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="open_clip_config.json, config.json and tokenizer files")
    parser.add_argument("--layers", type=int, nargs="+", default=[9, 7])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    parser.add_argument("--measure", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    table = compare(arguments)
    print(table)
    if arguments.write:
        arguments.write.write_text(table, "utf-8")


if __name__ == "__main__":
    main()
