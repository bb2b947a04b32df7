"""The choices that a run makes, each with its source: frozen dataclasses and one table of presets.

The paper leaves several values open; `docs/medclip-samv2.md` says for every setting what the paper says, what the
released code does, and what our presets take. No torch here: the command line reads its choices from this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from medclipsam.errors import BadInput

FitKind = Literal["squash", "letterbox", "crop"]
SquareFit = Literal["squash", "letterbox"]
EnsembleBackend = Literal["unet", "nnunet"]
RefineBackend = Literal[EnsembleBackend, "embedded"]
ExplainerKind = Literal["m2ib", "gradcam", "dense"]
CoarseKind = Literal["otsu", "kmeans", "threshold", "crf"]
PromptKind = Literal["box", "boxes", "points", "both"]
BOX_ONLY_SAM = ("lite-medsam", "medsam")
"""Segment Anything models that were trained with boxes alone (Ma et al., 2024): a point leads them nowhere."""
EMBEDDED_CLIPS = ("compact", "compact-open")
"""The embedded model, as trained on all sources, and on those alone whose stated licence allows commercial use."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Number format of matrix products; `auto` is what the device is best at."""
EngineKind = Literal["auto", "torch", "openvino", "onnx"]
"""What computes the embedded preset on a CPU; `auto` is the fastest that is installed and gives torch's answers."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a method is loaded; what none of its settings says."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: Precision = "auto"
    """Number format of Segment Anything's image encoder; all else is computed in single precision."""
    seed: int = 0
    """Seed of noise and of drawn points."""
    weights: Path | None = None
    """A person's own weights in place of the preset's."""
    sam: Any = None
    """The preset's Segment Anything model where it is loaded already."""
    sam_weights: Path | None = None
    """A person's own checkpoint of the preset's Segment Anything model."""
    engine: EngineKind = "torch"
    """What computes the embedded preset on a CPU."""
    cache: Path | None = None
    """Folder where encodings of images and texts are kept for other processes."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The settings of one method, of whichever kind."""

    method: ClassVar[str]
    """Its name in `medclipsam.methods.METHODS`."""
    name: str
    """What a person calls these settings."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the weights that it loads, the largest part first."""
        return ()


@dataclass(frozen=True, kw_only=True)
class M2IB:
    """Information bottleneck on the image tower (Wang et al., NeurIPS 2023, eq. 5-8; MedCLIP-SAMv2, eq. 16)."""

    layer: int = 9
    """0-based block after whose output the bottleneck sits (M2IB default 9; released breast and brain scripts 9)."""
    beta: float = 0.1
    """Weight of compression against relevance (M2IB default 0.1; the paper names gamma and gives no value)."""
    steps: int = 10
    """Adam steps (M2IB, released code)."""
    learning_rate: float = 1.0
    """Adam learning rate (M2IB, released code)."""
    samples: int = 10
    """Noisy copies of the tokens in each step (M2IB, released code)."""
    initial_alpha: float = 5.0
    """Start of the gate's logit: almost everything passes (M2IB, released code)."""


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """From the saliency map to a coarse mask (paper section 3.3).

    The paper keeps components by their confidence and gives no threshold for it, the released code keeps the largest.
    So no preset uses `min_confidence`, not even the one with the settings of the paper.
    """

    method: CoarseKind = "otsu"
    """`otsu`: paper eq. 17; `kmeans`: released code; `threshold`, `crf`: its options."""
    threshold: float = 0.3
    """For `threshold` alone (released code)."""
    components: int = 1
    """Keep the largest by area (released code: 1, lungs 2); 0 keeps all."""
    min_confidence: float | None = None
    """Keep components whose mean saliency is above this, in place of the largest (paper eq. 18-19, which give no
    value; not in the released code). None: the largest by area, as `components` says."""
    min_share: float = 0.0
    """Drop components smaller than this share of the image."""
    min_relative: float = 0.0
    """Drop components whose saliency sums to less than this share of the strongest one's (neither paper nor code)."""
    copy_side: int = 0
    """Divide a square copy of the map with this side and 8 bits, sampled at pixel corners (`cv2.INTER_NEAREST`) on the
    way there and back (released code: 256). 0 divides the map itself."""
    keep_ties: bool = False
    """Also keep components as large as the smallest of those that are kept (released code)."""


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """From the coarse mask to the prompts of SAM (paper section 3.4, Table 6).

    The paper draws a box around each contour, the released code one around all unless told otherwise; where one
    component is kept, as in the presets, both are the same box.
    """

    kind: PromptKind = "box"
    """`box`: one around all; `boxes`: one for each component; `points`; `both`: boxes and points."""
    margin: float = 0.0
    """Widen each box by this share of its sides on every side (reference: 0)."""
    points: int = 10
    """Positive points drawn from the mask (released code: 10)."""
    negatives: int = 0
    """Negative points drawn from outside (released code: 10 with `--negative`)."""
    multimask: bool = False
    """Let SAM propose three masks and take the one with the best predicted IoU."""
    grow: float = 0.0
    """Where the mask ends in a straight run at a side of a box that the evidence drew, move that side by this share of
    the box and ask again, a few times (neither paper nor code). 0: never."""
    as_many_parts_as_prompts: bool = False
    """Keep the largest parts of SAM's mask, as many as the coarse mask has outer contours, whatever the number of boxes
    (released code; the paper does not say). Of a person's own boxes: as many as there are boxes."""


@dataclass(frozen=True, kw_only=True)
class ZeroShot(MethodConfig):
    """Everything that decides what MedCLIP-SAMv2 answers."""

    method: ClassVar[str] = "zeroshot"
    clip: str
    """Key of the CLIP in the weights table."""
    sam: str
    """Key of the Segment Anything model in the weights table."""
    explainer: ExplainerKind = "m2ib"
    fit: FitKind = "squash"
    """How an image enters CLIP's square: the paper says "resized to 224 x 224"; `crop` is the released code's."""
    stretch: bool = False
    """Draw the square's map over the whole image, nearest pixel by nearest pixel, as the released code does after its
    crop (it moves what lies off the centre of an oblong one); False maps every cell back to where it was seen."""
    m2ib: M2IB = field(default_factory=M2IB)
    coarse: Coarse = field(default_factory=Coarse)
    prompting: Prompting = field(default_factory=Prompting)
    saliency_share: float = 0.0
    """Weight of the saliency map in the mask's probability, SAM has the rest (paper and released code: SAM alone)."""
    least_agreement: float = 0.0
    """Overlap (intersection over union) of SAM's mask with what the saliency map marks, below which the map alone is
    the mask: SAM drew one region where the text names many, or a thin one. 0: never (paper and released code)."""
    presence_threshold: float | None = None
    """Below this the answer is "not found"; None: always segment (the reference)."""
    rights_greys: bool = False
    """Whether a picture whose greys are inverted is inverted back for the models, by what was learned from images for
    research; the reference shows it as it is."""
    crop_borders: bool = False
    """Whether a drawn border (a letterbox, the black around an endoscope's octagon) is left out of what the models see;
    the reference shows them the whole image."""
    views: int = 1
    """Number of views of an image whose evidence is averaged, 1 to 6: as it is, smaller, darker, lighter, turned (paper
    and released code: as it is). Each costs an encoding; for the embedded model's own map alone."""
    tells_sides: bool = True
    """Whether the model tells the left of a pair from the right; False: the side is cut from the mask of both."""
    tells_bodies: bool = True
    """Whether the part of the body that an image shows has a say, which was learned from images for research."""

    @property
    def needs(self) -> tuple[str, ...]:
        """See `MethodConfig.needs`."""
        return (self.sam, self.clip, *(("minilm", "words") if self.clip in EMBEDDED_CLIPS else ()))


@dataclass(frozen=True, kw_only=True)
class Refined(MethodConfig):
    """A finished run of `medclipsam refine`: the ensemble of its kept networks.

    Raises:
        BadInput: a threshold outside (0, 1).
    """

    method: ClassVar[str] = "refined"
    name: str = "refined"
    run: Path
    """Folder of the run."""
    threshold: float | None = None
    """Probability above which a pixel is inside; None: the run's own, 0.5 (released code: 0.2)."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise BadInput(f"threshold is {self.threshold}", "give a number between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Supervised(MethodConfig):
    """A run of `medclipsam train unet`, or of another network that learns from masks and texts.

    Raises:
        BadInput: no sample at all.
    """

    method: ClassVar[str] = "supervised"
    name: str = "supervised"
    run: Path
    """Folder of the run."""
    samples: int = 30
    """Draws of the noise whose mean is the answer, of a network that has noise (MedCLIPSeg, released code: 30)."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadInput(f"samples is {self.samples}", "give at least 1")


# The embedded preset's prompts and share were chosen on the validation split (benchmarks/choose_embedded.py), when its
# maps had 64 x 64 cells, the least agreement on the same split with those of today (the program's question `agreement`
# asks it again); both of its thresholds lie in the weights, so that 0.5 is the place to decide
# (medclipsam/training/embedded/calibration.py).
_EMBEDDED = ZeroShot(
    name="embedded",
    clip="compact",
    sam="lite-medsam",
    explainer="dense",
    fit="letterbox",
    m2ib=M2IB(layer=1),
    coarse=Coarse(method="threshold", threshold=0.5, components=0, min_share=0.0005, min_relative=0.3),
    prompting=Prompting(kind="box", margin=0.05),
    saliency_share=0.75,
    least_agreement=0.5,
    presence_threshold=0.5,
    crop_borders=True,
    rights_greys=True,
    tells_sides=False,
)
PRESETS: dict[str, MethodConfig] = {
    preset.name: preset
    for preset in (
        ZeroShot(name="medclip-samv2", clip="biomedclip", sam="sam-vit-h"),
        ZeroShot(
            name="medclip-samv2-released",
            clip="biomedclip",
            sam="sam-vit-h",
            fit="crop",
            stretch=True,
            m2ib=M2IB(layer=7),
            coarse=Coarse(method="kmeans", copy_side=256, keep_ties=True),
            prompting=Prompting(as_many_parts_as_prompts=True),
        ),
        _EMBEDDED,
        replace(_EMBEDDED, name="embedded-open", clip="compact-open", tells_bodies=False, rights_greys=False),
    )
}


def preset(name: str) -> MethodConfig:
    """Look up a preset.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in PRESETS:
        raise BadInput(f"unknown preset {name!r}", f"choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def zeroshot_preset(name: str) -> ZeroShot:
    """Look up a preset of MedCLIP-SAMv2.

    Raises:
        BadInput: there is none of that name, or it is of another method.
    """
    found = preset(name)
    if not isinstance(found, ZeroShot):
        raise BadInput(f"preset {name!r} is of the method {found.method}", "choose one that has a CLIP")
    return found
