"""BiCLIP (arXiv 2603.00156, 2026): a text becomes a picture of what to look for, and a U-Net reads both.

    image --------> embedding i                                    image ------> [image, pseudo] --> U-Net --> logits
    text --> t ---> t' = t + g(t, i) --> pseudo-image of the lesion ----------------^
                                             '--> t again (cycle)

Written anew from a description of the released code and of the paper. EF-UNet (arXiv 2510.12482, 2025), its ancestor,
is the same without refiner, cycle and consistency. Despite the name no CLIP is in it: a frozen BERT reads the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medclipsam.backbones.frozen_texts import FrozenTexts, load_frozen_texts
from medclipsam.backbones.tower import Unread
from medclipsam.backbones.unet import UNet
from medclipsam.networks.biclip_losses import Imagined, TrainingPass, biclip_losses
from medclipsam.networks.biclip_settings import SHRINK, BiclipSettings
from medclipsam.networks.contract import Batch, Inputs, SupervisedNetwork, Taught
from medclipsam.networks.views import Reach, Warp, photometric

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PSEUDO_MEAN, PSEUDO_DEVIATION = 0.5, 0.25
CONSISTENCY_WIDTH = 256


def build(settings: BiclipSettings, taught: Taught, device: torch.device) -> Biclip:
    """BiCLIP or EF-UNet by its settings.

    Raises:
        MissingWeights, BadInput: a text encoder that is not there or not of a known layout.
    """
    return Biclip(settings, load_frozen_texts(settings.text_weights, device))


class Biclip(SupervisedNetwork):
    """BiCLIP, and by its settings EF-UNet.

    Args:
        texts: the frozen text encoder.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: BiclipSettings, texts: FrozenTexts) -> None:
        super().__init__()
        self.settings, self.side = settings, settings.side
        self._texts = (texts,)  # in a tuple, so that its weights are not ours
        length = settings.text_length
        self.text = _perceptron(texts.width, length)
        self.generator = _generator()
        self.seen, self.refiner = None, None
        if settings.refine_steps:
            self.seen = _seeing(*settings.seen)
            self.refiner = _perceptron(length + settings.seen[1], length)
        self.unet = UNet(settings.widths, channels=6, norm="batch")
        self.retell = (
            nn.Sequential(_seeing(*settings.told), nn.Linear(settings.told[1], length))
            if settings.cycle_weight
            else None
        )
        self.project = _projector(settings.widths[0]) if settings.consistency_weight else None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # on a CPU a third faster

    @property
    def frozen(self) -> Mapping[str, str]:
        """See the contract."""
        return self._texts[0].hashes

    def learn_from(self, texts: Sequence[str]) -> None:
        """Read every text once."""
        self._texts[0].remember(texts)

    def unread(self, text: str) -> Unread | None:
        """See the contract."""
        return self._texts[0].unread(text)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """See the contract; draws its own views, for text, image and mask have to stay together."""
        return biclip_losses(self.training_pass(batch), self.settings)

    def probability(self, inputs: Inputs, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """See the contract."""
        images = _asked(inputs)
        imagined = self.imagine(images, self._sentences(inputs))
        logits = self.unet(self._normalised(images, imagined.pseudo))
        return logits.float().sigmoid().expand(samples, -1, -1, -1)

    def imagine(self, images: Tensor, sentences: Tensor) -> Imagined:
        """What the texts (R, width) say to look for in these images (R, 3, side, side)."""
        text = self.text(sentences)
        side = self.side // SHRINK
        pseudo = self.generator(self.refined(text, images).view(len(text), 1, side, side))
        return Imagined(text=text, pseudo=pseudo, retold=None if self.retell is None else self.retell(pseudo))

    def refined(self, text: Tensor, images: Tensor) -> Tensor:
        """(R, text_length) -> the same: K times t + g(t, i) with one g."""
        if self.refiner is None or self.seen is None:
            return text
        seen = self.seen(images)
        for _ in range(self.settings.refine_steps):
            text = text + self.refiner(torch.cat([text, seen], dim=1))
        return text

    def training_pass(self, batch: Batch) -> TrainingPass:
        """Imagine from the clean image, then move image, pseudo-image and mask by one warp, and see them twice.

        The pseudo-image keeps its gradient: the loss of the mask trains the parts that read the text, too.
        """
        images = _asked(batch)
        imagined = self.imagine(images, self._sentences(batch))
        warp = Warp.drawn(len(images), self._reach, images.device)
        view, pseudo = warp.images(images), warp.images(imagined.pseudo)
        features = self.unet.features(self._normalised(view, pseudo))
        return TrainingPass(
            logits=self.unet.logits(features),
            truth=warp.masks(batch.masks),
            imagined=imagined,
            lesion=images * batch.masks[:, None],
            weak=None if self.project is None else self.project(features),
            strong=self._strong(view, pseudo),
        )

    def _strong(self, view: Tensor, pseudo: Tensor) -> Tensor | None:
        """The summary of a photometrically changed view; batch statistics learn from it in any case."""
        if self.project is None:
            return None
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.stop_gradient != "strong"):
            return self.project(self.unet.features(self._normalised(photometric(view), pseudo)))

    def _sentences(self, inputs: Inputs) -> Tensor:
        return self._texts[0].encode(inputs.texts).to(self.mean.device)

    @property
    def _reach(self) -> Reach:
        its = self.settings
        return Reach(moved=its.moved, rotation=its.joint_rotation, shift=its.joint_shift, zoom=its.joint_zoom)

    def _normalised(self, images: Tensor, pseudo: Tensor) -> Tensor:
        """(R, 6, side, side): what the U-Net reads."""
        both = [(images - self.mean) / self.deviation, (pseudo - PSEUDO_MEAN) / PSEUDO_DEVIATION]
        return torch.cat(both, dim=1).contiguous(memory_format=torch.channels_last)


def _asked(inputs: Inputs) -> Tensor:
    """(R, 3, side, side): the image of each row."""
    return inputs.pixels[inputs.image_of].contiguous(memory_format=torch.channels_last)


def _perceptron(entering: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(entering, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width))


def _seeing(first: int, second: int) -> nn.Sequential:
    """(R, 3, height, width) -> (R, second): two convolutions and the mean over all pixels."""
    return nn.Sequential(
        nn.Conv2d(3, first, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _generator() -> nn.Sequential:
    """(R, 1, side / 8, side / 8) -> (R, 3, side, side) in [0, 1]."""
    return nn.Sequential(
        nn.ConvTranspose2d(1, 16, 4, 2, 1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1),
        nn.Sigmoid(),
    )


def _projector(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CONSISTENCY_WIDTH),
        nn.LayerNorm(CONSISTENCY_WIDTH),
    )
