"""Which code names what a prompt asks for? SNOMED CT where the words are known, else a private code of the project.

    liver            ->  Anatomical Structure, Liver
    breast tumor     ->  Morphologically Abnormal Structure, Tumor, in the region Breast
    ground-glass     ->  Tissue, private code 99MEDCLIPSAM (a hash of the prompt), meaning: the prompt

Codes are looked up by keyword in pydicom's copy of the standard's dictionary, never typed in.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99MEDCLIPSAM"
LONGEST_MEANING = 64
_ANATOMY = {
    **{word: word.capitalize() for word in ("aorta", "bone", "brain", "breast", "colon", "esophagus", "eye")},
    **{word: word.capitalize() for word in ("gallbladder", "heart", "kidney", "liver", "lung", "pancreas", "prostate")},
    **{word: word.capitalize() for word in ("retina", "skin", "spleen", "stomach", "thyroid", "trachea")},
    "lungs": "Lung",
    "kidneys": "Kidney",
    "left ventricle": "LeftVentricle",
}
_FINDINGS = {
    **{word: word.capitalize() for word in ("cyst", "edema", "hemorrhage", "lesion", "mass", "nodule", "tumor")},
    "neoplasm": "Neoplasm",
    "tumour": "Tumor",
}


@dataclass(frozen=True, kw_only=True)
class SegmentCode:
    """What a segment is, as a DICOM SEG says it (PS3.3 C.8.20.4)."""

    category: Code
    type: Code | CodedConcept
    regions: tuple[Code, ...] = ()


def segment_code(prompt: str) -> SegmentCode:
    """The codes of a prompt; a prompt that is not known gets a private one with the prompt as its meaning."""
    words = " ".join(re.sub(r"[^a-z ]", " ", prompt.lower()).split())
    category = codes.cid7150
    if words in _ANATOMY:
        return SegmentCode(category=category.AnatomicalStructure, type=getattr(codes.SCT, _ANATOMY[words]))
    region, _, finding = words.rpartition(" ")
    if finding in _FINDINGS and (not region or region in _ANATOMY):
        return SegmentCode(
            category=category.MorphologicallyAbnormalStructure,
            type=getattr(codes.SCT, _FINDINGS[finding]),
            regions=(getattr(codes.SCT, _ANATOMY[region]),) if region else (),
        )
    value = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12].upper()
    return SegmentCode(category=category.Tissue, type=CodedConcept(value, PRIVATE_SCHEME, short_text(prompt)))


def short_text(text: str) -> str:
    """Text as a DICOM Long String holds it: one line, no backslash, at most 64 characters, never empty."""
    printable = "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in text)
    return " ".join(printable.split())[:LONGEST_MEANING].strip() or "unnamed"
