"""A network trained on masks and texts (`medclipsam train unet` and others) as a method: it reads the user's own text.

image --square--> features (kept) --.
text -------------------------------+--> 1 or 30 maps --> mean, entropy, mutual information --> presence --> mask
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.squares import frame_for, to_square
from medclipsam.config import Loading, SquareFit, Supervised
from medclipsam.errors import BadInput, WrongHash
from medclipsam.memory.latest import Latest
from medclipsam.methods.contract import MethodInfo, check_hints
from medclipsam.methods.supervised_run import WEIGHTS, NetworkFile
from medclipsam.methods.uncertainty import RunningMean
from medclipsam.networks.contract import Features, Inputs, SupervisedNetwork, Taught
from medclipsam.networks.frames import as_pixels
from medclipsam.networks.registry import build, settings_from
from medclipsam.prompting.evidence import unread_notes, wordings
from medclipsam.runtime import generator_for, pick_device
from medclipsam.types import MASK_THRESHOLD, FloatArray, Hints, MedImage, NothingFound, Segmentation, Uncertainty
from medclipsam.weights.loading import load_state
from medclipsam.words import check_prompt

REMEMBERED_IMAGES = 32


def load_supervised(config: Supervised, how: Loading) -> SupervisedSegmenter:
    """Load the network of a run, and the frozen towers that it stands on.

    Raises:
        BadInput: no such run, one of another version, or a Segment Anything model, which it has no use for.
        MissingWeights, WrongHash: weights that are not there, or not those that it was trained with.
    """
    if how.sam is not None or how.sam_weights is not None:
        raise BadInput("a supervised network has no Segment Anything model", "leave it out, or choose a preset")
    file = NetworkFile.read(config.run)
    network = load_network(file, config.run, pick_device(how.device))
    return SupervisedSegmenter(file, network, config.samples, how.seed)


def load_network(file: NetworkFile, run: Path, device: torch.device) -> SupervisedNetwork:
    """Build the network of a run and give it its weights.

    Raises:
        BadInput: a network of another version.
        MissingWeights, WrongHash: see `load_supervised`.
    """
    taught = Taught(targets=file.targets, texts=file.texts, coloured=file.coloured)
    with torch.random.fork_rng(devices=[]):
        network = build(settings_from(file.network), taught, device)
    changed = [key for key, sha256 in file.frozen.items() if network.frozen.get(key) != sha256]
    if changed:
        raise WrongHash(f"{run.name} was trained on another {changed[0]}", "install the version that trained it")
    try:
        network.load_state_dict(load_state(run / WEIGHTS))
    except RuntimeError as error:
        raise BadInput(f"{WEIGHTS} of {run.name} is not of this network", "train it again") from error
    return network.to(device).eval().requires_grad_(False)


class SupervisedSegmenter:
    """A `medclipsam.methods.contract.Segmenter` around one trained network.

    Args:
        file: what its run says.
        network: on its device, in evaluation mode.
        samples: draws of its noise; without effect where it has none.
        seed: of the noise.
    """

    def __init__(self, file: NetworkFile, network: SupervisedNetwork, samples: int = 30, seed: int = 0) -> None:
        self._file, self._network, self._seed = file, network, seed
        self._samples = samples if network.is_random else 1
        self._fit: SquareFit = settings_from(file.network).fit
        self._seen: Latest[Inputs] = Latest()
        self._device = next(network.parameters()).device

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        """See the contract.

        Raises:
            BadInput: hints, which it cannot use; a text that a network without text was not taught; a grey image where
                every training image had colours.
        """
        check_hints(hints, self.info)
        prompt = check_prompt(text)
        self._check_taught(prompt)
        self._check_colours(image)
        maps = self._maps(image, prompt)
        presence = float(self._network.presence(maps[None, 0])[0])
        reason: NothingFound | None = None
        if presence < self._file.presence_threshold and not always:
            reason = "below_threshold"
        return self._answer(image, prompt, maps, presence, reason)

    def prepare(self, images: Sequence[MedImage]) -> None:
        """See the contract."""
        self._look(images)

    def images_at_once(self, most: int) -> int:
        """See the contract: images are encoded one by one on a CPU, to the same bits in any company."""
        return 1 if self._device.type == "cpu" else most

    @cached_property
    def info(self) -> MethodInfo:
        """See the contract."""
        settings = {"name": self._file.network["kind"], "targets": list(self._file.targets), **self._file.network}
        return MethodInfo(
            method=Supervised.method,
            preset={**settings, "samples": self._samples, "presence_threshold": self._file.presence_threshold},
            weights={WEIGHTS: self._file.sha256, **self._file.frozen},
            device=str(self._device),
            takes_hints=False,
        )

    def _check_taught(self, prompt: str) -> None:
        known = (*self._file.targets, *self._file.texts)
        if self._network.reads_text or all(wording in known for wording in wordings(prompt)):
            return
        learned = ", ".join(repr(target) for target in self._file.targets[:3])
        raise BadInput(f"this run learned {learned}, not {prompt[:60]!r}", "give that prompt, or another run")

    def _check_colours(self, image: MedImage) -> None:
        if self._file.coloured and not is_coloured(image.pixels):
            raise BadInput(
                f"{image.name} is grey, and this run learned from colour images alone", "train on such images"
            )

    @torch.no_grad()
    def _look(self, images: Sequence[MedImage]) -> Mapping[str, Inputs]:
        """Each image in the network's square with its features, from memory where it was seen lately."""
        wanted = {image.digest: image for image in images}
        ready = self._seen.of(wanted)
        for digest in wanted.keys() - ready.keys():
            ready[digest] = self._encoded(wanted[digest])
        self._seen.keep(ready, REMEMBERED_IMAGES)
        return ready

    def _encoded(self, image: MedImage) -> Inputs:
        frame = frame_for(image.size, self._network.side, self._fit)
        pixels = as_pixels(to_square(image.pixels, frame), frame)[None].to(self._device)
        features: Features = self._network.encode(pixels)
        one = torch.zeros(1, dtype=torch.int64, device=self._device)
        return Inputs(pixels=pixels, features=features, texts=("",), image_of=one)

    @torch.no_grad()
    def _maps(self, image: MedImage, prompt: str) -> Tensor:
        """(3, rows, columns) over the square: mean probability, its entropy, mutual information."""
        seen, mean = self._look([image])[image.digest], RunningMean()
        for wording in wordings(prompt):
            noise = generator_for(self._seed, f"{image.digest} {wording}") if self._network.is_random else None
            inputs = Inputs(pixels=seen.pixels, features=seen.features, texts=(wording,), image_of=seen.image_of)
            for sample in self._network.probability(inputs, self._samples, noise)[:, 0].cpu():
                mean.add(sample)
        return mean.maps()

    def _answer(
        self, image: MedImage, prompt: str, maps: Tensor, presence: float, reason: NothingFound | None
    ) -> Segmentation:
        frame = frame_for(image.size, self._network.side, self._fit)
        probability, entropy, information = frame.inverse(maps).clamp(0, 1).numpy()
        mask = probability > MASK_THRESHOLD if reason is None else np.zeros(image.size, bool)
        unsure = Uncertainty(entropy=entropy, information=information)
        return Segmentation(
            prompt=prompt,
            mask=mask,
            probability=probability,
            found=bool(mask.any()),
            presence=presence,
            reason=reason or (None if mask.any() else "no_region"),
            uncertainty=unsure if self._network.is_random else None,
            notes=unread_notes(self._network.unread, prompt),
        )


def is_coloured(pixels: FloatArray) -> bool:
    """Whether the channels of (height, width, 3) differ anywhere."""
    return bool((pixels != pixels[..., :1]).any())
