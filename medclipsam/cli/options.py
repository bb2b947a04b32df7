"""The options that several commands share, each a type, so that it means and says the same everywhere.

def segment(scan: ..., *, always: Always = False, axis: PlaneAxis = None, ...)

Nothing here loads a reader or a model: help must answer at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclipsam.config import PRESETS, EngineKind, Precision
from medclipsam.volume.rules import VolumeMode

SamName = Literal["vit_b", "vit_l", "vit_h", "medsam", "lite-medsam"]
MASK_FORMATS = "[auto|seg|rtstruct|png|nifti|nrrd|mha|mgz|seg.nrrd|npy]"
MAX_PIXELS = 64 * 2**20
"""As `medclipsam.io.limits.DEFAULT_MAX_PIXELS`; a test holds the two together."""


def panel(name: str) -> Callable[..., Any]:
    """Write the options of a panel of the help in a line each: `training = panel("Training")`, then

    `epochs: Annotated[int, training("Passes over the data.")] = 60`, or `..., "--other-name", show_default="60"`.
    """

    def option(help: str | None = None, *flags: str, **more: Any) -> Any:
        return typer.Option(*flags, help=help, rich_help_panel=name, **more)

    return option


asking, reading, model, writing = panel("What to segment"), panel("Reading"), panel("Model"), panel("Output")
archived, looking = panel("DICOMweb archive"), panel("Where to look")
working = panel("Where the work is done")

Prompts = Annotated[
    list[str],
    typer.Option("--prompt", "-p", help="What to segment; repeat it for several; A|B averages two wordings."),
]
ScanOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the results.", show_default="medclipsam-CASE")
]
OwnBoxes = Annotated[
    list[str] | None,
    looking("Your own box x0,y0,x1,y1 by its edges in pixels: 0,0,1,1 is the first pixel. Repeatable."),
]
OwnPoints = Annotated[str | None, looking("Your own points x,y;x,y in pixels; x,y,0 lies outside the object.")]
Always = Annotated[bool, asking("Give a mask even where the answer is: not found.", "--always")]
Preset = Annotated[str, model(f"One of {', '.join(PRESETS)}.")]
Device = Annotated[
    str, model("Device to compute on: auto (default: CUDA, else Apple's MPS, else the CPU), cpu, cuda, cuda:1, mps.")
]
EncoderPrecision = Annotated[
    Precision,
    model(
        "Number format of Segment Anything's image encoder. auto: half on CUDA, single elsewhere; bf16: faster where "
        "the processor has it; masks differ, and a few are lost or gained."
    ),
]
EncoderEngine = Annotated[
    EngineKind,
    model(
        "What computes the embedded preset on a CPU: torch, openvino (extra fast), onnx (extra onnx). auto: the first "
        "other than torch that is installed and gives torch's answers here; what it takes is prepared once.",
        "--encoder-engine",
        envvar="MEDCLIPSAM_ENCODER_ENGINE",
        show_envvar=False,
    ),
]
Views = Annotated[
    int,
    model(
        "Look at each image in so many ways, and average the embedded model's evidence: as it is, smaller (in a "
        "black margin), darker, lighter, turned to either side. Each view costs an encoding.",
        min=1,
        max=6,
    ),
]
Cache = Annotated[
    Path | None,
    model(
        "Folder that keeps what was computed of images and texts, so that another prompt on the same scan starts from "
        "there: up to 2 GiB, for 30 days after the last use.",
        "--cache",
        show_default="none",
    ),
]
Seed = Annotated[int, model("Seed of all randomness.", min=0)]
FineTuned = Annotated[
    Path | None,
    model("Your own weights in place of the preset's: a CLIP's checkpoint, or the folder of any training run."),
]
OwnSam = Annotated[
    Path | None,
    model("Your own checkpoint of Segment Anything, in place of the known one; the report tells its SHA-256."),
]
SamKind = Annotated[
    SamName | None,
    model(
        "Segment Anything model that draws the masks; with --sam-weights, the kind of that file.",
        show_default="the preset's",
    ),
]
Offline = Annotated[bool, model("Keep every library from opening a connection.", "--offline")]
SomeSlices = Annotated[
    str | None,
    reading(
        "Slices of a volume, from 0; 10:40 is 10 to 39.",
        "--slices",
        "--slice",
        metavar="A:B|N|all",
        show_default="all",
    ),
]
SomeFrames = Annotated[
    str | None,
    reading(
        "Frames of a DICOM file or pages of a TIFF, from 0; 3:10 is 3 to 9.",
        metavar="A:B|N|all",
        show_default="all",
    ),
]
OneSeries = Annotated[
    str | None, reading("Which of several DICOM series; without it the error lists them.", metavar="N|UID")
]
PlaneAxis = Annotated[
    str | None,
    reading(
        "Plane to slice a volume in: axial, coronal, sagittal, or an axis 0, 1, 2.", show_default="the slices' own"
    ),
]
GreyWindow = Annotated[
    str | None,
    reading(
        "Display window: lung, soft-tissue, brain, bone (CT), percentiles, CENTRE,WIDTH in HU or raw values, or the "
        "number of one of the file's own. file: what the file says. auto: the same, but the embedded "
        "presets try lungs on a CT in HU in the window lung too, on up to three slices, and use the surer one.",
        show_default="auto",
    ),
]
HowSlices = Annotated[
    VolumeMode,
    reading(
        "How neighbouring slices are combined. slices: each slice alone. agree: drop what appears on one "
        "slice only, and look again where one lacks between two. smooth: also smooth across slices. largest: keep the "
        "largest 3-D components. stack (default): settle the evidence of all slices before drawing any mask, and drop "
        "small parts of organs that are in one piece; agree where a preset cannot.",
        "--volume-mode",
    ),
]
MaxPixels = Annotated[int, reading("Refuse larger images before decoding them.")]
Sandbox = Annotated[
    bool,
    reading(
        "Decode in a child process with limits on memory and time: a file that ends it is refused like any other.",
        "--sandbox/--no-sandbox",
    ),
]
Shard = Annotated[
    str,
    working("Do this part of the files, from 1/n to n/n, into one folder.", metavar="i/n", show_default="1/1"),
]
EngineName = Annotated[
    Literal["local", "ray"],
    working("Who does the work: this process, or workers on a Ray cluster; the masks are equal."),
]
RayAddress = Annotated[
    str | None, working("Address of a running Ray cluster, or auto.", "--address", show_default="this machine")
]
RayWorkers = Annotated[
    int | None,
    working("Number of workers on Ray, each with its models.", "--workers", show_default="one a GPU, or a CPU"),
]
BatchSize = Annotated[int, working("Number of images encoded at once: on a CPU up to 4 side by side.")]
ScanFormats = Annotated[
    list[str] | None,
    writing(
        "Format of the masks; may be repeated. auto: seg (DICOM SEG) for DICOM, a volume's own format, png else.",
        "--format",
        metavar=MASK_FORMATS,
        show_default="auto",
    ),
]
FolderFormats = Annotated[
    list[str] | None,
    writing(
        "Format of the masks; may be repeated. auto: a volume's own format, png for all others; seg: DICOM SEG for "
        "DICOM. A scan that cannot have a format gets auto in its place.",
        "--format",
        metavar=MASK_FORMATS,
        show_default="auto",
    ),
]
SegType = Annotated[
    Literal["binary", "labelmap", "fractional"], writing("Type of a DICOM SEG; fractional keeps probabilities.")
]
SegAllSlices = Annotated[
    bool,
    writing(
        "Keep slices without a mask in a DICOM SEG too, for tools that otherwise misplace the others.",
        "--seg-all-slices",
    ),
]
StructuredReport = Annotated[
    bool,
    writing("Write the measurements as DICOM SR (TID 1500) too, beside each DICOM SEG that they refer to.", "--sr"),
]
Store = Annotated[
    bool,
    archived("Store the DICOM SEG, and the SR of --sr, in the archive; what is there is not sent again.", "--store"),
]
MasksToo = Annotated[
    bool,
    asking(
        "Segment files too that look like masks of the images beside them (x_mask.png beside x.png).", "--masks-too"
    ),
]
SafeNames = Annotated[
    bool,
    writing(
        "Call results by harmless words and hashes in place of the scans' names, for results that leave the house.",
        "--safe-names",
    ),
]
SaveStages = Annotated[
    bool, writing("Also write every map, such as saliency and probability, as 16-bit PNG.", "--save-stages")
]
AsReport = Annotated[bool, writing("Print the report instead of a summary.", "--json")]
