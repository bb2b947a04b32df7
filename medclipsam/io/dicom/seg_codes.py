"""Codes for what a prompt asks for: SNOMED CT where the words are known, else a private code of the project.

    liver            ->  Anatomical Structure, Liver
    left lung        ->  Anatomical Structure, Lung; Left, where the mask was cut to that side
    breast tumor     ->  Morphologically Abnormal Structure, Tumor, in the region Breast
    ground-glass     ->  Tissue, private code 99MEDCLIPSAM (a hash of the prompt), meaning: the prompt

Codes are looked up by keyword in pydicom's copy of the standard's dictionary, never typed in. A side in the words alone
gives no modifier: some presets do not tell the left of a pair from the right, and a code would say that they did.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medclipsam.sides import one_side
from medclipsam.types import Side

PRIVATE_SCHEME = "99MEDCLIPSAM"
LONGEST_MEANING = 64
_ANATOMY = {
    **{word: word.capitalize() for word in ("aorta", "bone", "brain", "breast", "colon", "esophagus", "eye")},
    **{word: word.capitalize() for word in ("gallbladder", "heart", "kidney", "liver", "lung", "pancreas", "prostate")},
    **{word: word.capitalize() for word in ("retina", "skin", "spleen", "stomach", "thyroid", "trachea")},
    **{word: word.capitalize() for word in ("bladder", "bronchus", "cerebellum", "duodenum", "femur", "mandible")},
    **{word: word.capitalize() for word in ("ovary", "rectum", "rib", "skull", "spine", "tongue", "tooth", "uterus")},
    "adrenal gland": "AdrenalGland",
    "left atrium": "LeftAtrium",
    "left ventricle": "LeftVentricle",
    "lymph node": "LymphNode",
    "optic disc": "OpticDiscStructure",
    "optic nerve": "OpticNerve",
    "right atrium": "RightAtrium",
    "right ventricle": "RightVentricle",
    "small intestine": "SmallIntestine",
}
_PLURALS = {word: f"{word}s" for word in ("breast", "eye", "kidney", "lung", "rib", "bone")} | {"ovary": "ovaries"}
_ANATOMY |= {plural: _ANATOMY[word] for word, plural in _PLURALS.items()}
_FINDINGS = {
    **{word: word.capitalize() for word in ("abscess", "carcinoma", "cyst", "edema", "effusion", "hematoma")},
    **{word: word.capitalize() for word in ("hemorrhage", "lesion", "mass", "metastasis", "necrosis", "nodule")},
    **{word: word.capitalize() for word in ("neoplasm", "pneumothorax", "tumor", "ulcer")},
    "tumour": "Tumor",
    "pleural effusion": "PleuralEffusion",
}
_SIDES = ("left", "right")


@dataclass(frozen=True, kw_only=True)
class SegmentCode:
    """What a segment is, as a DICOM SEG says it (PS3.3 C.8.20.4)."""

    category: Code
    type: Code | CodedConcept
    regions: tuple[Code, ...] = ()
    """Where in the body a finding is."""
    side: Code | None = None
    """Which of a pair (CID 244): it modifies the regions, where there are none the type."""

    @property
    def places(self) -> tuple[Code | CodedConcept, ...]:
        """Where a report says that it is: the regions; of a structure of which one side is meant, the structure."""
        is_structure = self.category == codes.cid7150.AnatomicalStructure
        return self.regions or ((self.type,) if self.side and is_structure else ())

    @property
    def type_side(self) -> Code | None:
        """What modifies the type."""
        return None if self.regions else self.side

    @property
    def region_side(self) -> Code | None:
        """What modifies the regions."""
        return self.side if self.regions else None


def segment_code(prompt: str, side: Side | None = None) -> SegmentCode:
    """The codes of a prompt, by the first of its wordings that is known; else a private one that means the prompt.

    Args:
        prompt: what was asked.
        side: see `medclipsam.types.Segmentation.side`.
    """
    return replace(_code_of(prompt, side), side=side and _sct(side.capitalize()))


def _code_of(prompt: str, side: Side | None) -> SegmentCode:
    asked = one_side(prompt, pointed=True) if side else None
    for wording in (asked.structure if asked else prompt).split("|"):
        known = _known(" ".join(re.sub(r"[^a-z ]", " ", wording.lower()).split()))
        if known is not None:
            return known
    value = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12].upper()
    return SegmentCode(category=codes.cid7150.Tissue, type=CodedConcept(value, PRIVATE_SCHEME, short_text(prompt)))


def _known(words: str) -> SegmentCode | None:
    """`left lung`, `breast tumor`, `left breast tumor`, `tumor`; what has a code as it stands comes first."""
    first, _, rest = words.partition(" ")
    if words not in _ANATOMY and first in _SIDES:
        return None if rest.startswith(_SIDES) else _known(rest)
    if words in _ANATOMY:
        return SegmentCode(category=codes.cid7150.AnatomicalStructure, type=_sct(_ANATOMY[words]))
    for finding, keyword in _FINDINGS.items():
        region = words.removesuffix(finding).removesuffix(" ")
        if words == finding or (words == f"{region} {finding}" and region in _ANATOMY):
            return SegmentCode(
                category=codes.cid7150.MorphologicallyAbnormalStructure,
                type=_sct(keyword),
                regions=(_sct(_ANATOMY[region]),) if region else (),
            )
    return None


def _sct(keyword: str) -> Code:
    found: Code = getattr(codes.SCT, keyword)
    return found


def short_text(text: str) -> str:
    """Text as a DICOM Long String holds it: one line, no backslash, at most 64 characters, never empty."""
    printable = "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in text)
    return " ".join(printable.split())[:LONGEST_MEANING].strip() or "unnamed"
