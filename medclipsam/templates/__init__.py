"""Which words can one ask with, which must find nothing, and which give the answer away?

    P0  the name                        "breast tumor"
    P1  the name of a sub-class         "malignant breast tumor"                        tells the class: leaks
    P2  a sentence about the target     "A medical breast ultrasound showing ..."
    P3  a sentence about a sub-class    "A medical breast ultrasound showing ..."       tells the class: leaks
    P4  the mean embedding of 20 P2     P5  that of 20 P3                               P5 leaks

The kinds are those of Koleilat et al., MedCLIP-SAMv2, Table 3; its best published figures for breast and brain use P3,
for which somebody must know the sub-class of each image beforehand. The sentences are ours, in the paper's pattern
("a sentence caption that describes unique visual features of [TARGET] in [MODALITY]"); `QUOTED` are the paper's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medclipsam.errors import BadInput
from medclipsam.templates.targets import TARGETS, Target

VERBS = ("showing", "revealing", "displaying", "with")

QUOTED: Mapping[str, str] = {
    "brain tumor P2": "A medical brain MRI scan revealing a suspicious, irregularly shaped mass suggestive of a brain"
    " tumor.",
    "meningioma P3": "A medical brain MRI scan showing a well-circumscribed, extra-axial mass suggestive of a"
    " meningioma tumor.",
    "benign breast tumor P3": "A medical breast mammogram showing a well-defined, round mass suggestive of a benign"
    " breast tumor.",
}
"""Three prompts of MedCLIP-SAMv2 (arXiv 2409.19483 and its released lists), to reproduce it; the last calls an
ultrasound a mammogram, as the original does."""

NONSENSE = (
    "ljashdbflsabdf",
    "qwrtzp mnbvcx",
    "xk7 vv0 jjq",
    "blorpish granth of the venting",
    "aaaaaaaaaaaa",
    "0101 1100 0110",
    "?!?! ;;; ---",
    "the of and to a in is",
)
"""Words that mean nothing: a method that segments them listens to no text."""

OFF_TOPIC = (
    "sitting on a chair",
    "a dog running on the beach",
    "a red car in front of a house",
    "a bowl of tomato soup",
    "two people playing tennis",
    "a page of printed text",
    "mountains at sunset",
    "a keyboard and a mouse",
)
"""Words that mean something, but nothing in a medical image."""


def target(name: str) -> Target:
    """A known target.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in TARGETS:
        raise BadInput(f"there are no templates for {name!r}", f"choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def wordings(name: str) -> tuple[str, ...]:
    """Words for a target that tell nothing of its sub-class: its name (P0), then 20 sentences (P2; together, P4).

    Raises:
        BadInput: there is no such target.
    """
    known = target(name)
    return known.name, *sentences(known.scan, known.findings)


def class_leaking(name: str) -> Mapping[str, tuple[str, ...]]:
    """Words that tell the sub-class: its name (P1) to its 20 sentences (P3; together, P5).

    Using the one that fits each image takes a person, or a classifier, who already knows the diagnosis: what is
    measured then is no longer zero-shot. Targets without sub-classes have none.

    Raises:
        BadInput: there is no such target.
    """
    known = target(name)
    return {subclass: sentences(known.scan, findings) for subclass, findings in known.subclasses.items()}


def negatives(name: str) -> tuple[str, ...]:
    """Words that must find nothing in an image of the target: nonsense, off-topic, and names from other body regions.

    Raises:
        BadInput: there is no such target.
    """
    region = target(name).region
    elsewhere = dict.fromkeys(other.name for other in TARGETS.values() if other.region != region)
    return *NONSENSE, *OFF_TOPIC, *elsewhere


def sentences(scan: str, findings: Sequence[str]) -> tuple[str, ...]:
    """Each finding with each verb, the findings changing fastest."""
    return tuple(f"A medical {scan} {verb} {finding}." for verb in VERBS for finding in findings)
