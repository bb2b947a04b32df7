"""Holds how cases are paired and measured, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medclipsam.errors import BadInput
from medclipsam.metrics.surface import SurfaceMethod, check_tolerance

if TYPE_CHECKING:
    from medclipsam.evaluate.structures import LabelNames, Structure

Lies = Literal["as-shown", "as-stored"]
Resize = Literal["centres", "corners"]


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How cases are paired and measured.

    Raises:
        BadInput: a tolerance that is not usable, or a spacing where distances are in pixels.
    """

    tolerance: float = 2.0
    """For NSD, in `unit` (the reference: 2 px)."""
    unit: Literal["px", "mm"] = "px"
    """Unit of the tolerance and of all distances."""
    surface: SurfaceMethod = "area"
    """What a surface is for NSD, HD95 and ASSD: pieces that count by their size, or boundary pixels that count alike;
    see `medclipsam.metrics.surface`."""
    spacing_mm: tuple[float, ...] | None = None
    """One distance for each axis, for `mm`; None takes it from the reference's file, then from the prediction's."""
    resize: Resize | None = None
    """Bring a prediction of another size to the reference's by nearest neighbour, found from pixel centres or, as the
    paper's code does, from pixel corners; without it such a case is refused."""
    missing_is_empty: bool = False
    """Score a reference without a prediction as missed instead of leaving it out as an orphan."""
    foreground_above: int | None = None
    """Grey value above which pictures are foreground; None: see `medclipsam.evaluate.masks`."""
    predicted_suffix: str = ""
    """What follows the case in the names of predictions; of a pseudolabel folder in the names of its scans."""
    reference_suffix: str = ""
    """What follows the case in the names of references, as `_mask`."""
    prompt: str | None = None
    """Whose masks are measured in a pseudolabel folder of several prompts; other folders have none."""
    reviewed: bool = False
    """Whether of a pseudolabel folder only masks are measured that a person accepted or corrected."""
    label: Structure | None = None
    """The structure that is measured, where references hold several labels."""
    names: LabelNames | None = None
    """The structures of references with several labels: each is compared with its own prompt, or with its own label
    where predictions hold labels too."""
    pictures: Lies | None = None
    """How pictures and arrays lie on NIfTI masks: as `segment` shows a scan, or as the file stores it; None where both
    are one or a run says it, else such a pair is refused."""

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)
        if self.spacing_mm is not None and self.unit == "px":
            raise BadInput("a spacing is of no use for distances in pixels", "give the tolerance in mm")
