"""Finds words that tell the left of a pair from the right: `left lung`, `right-sided effusion`, `kidney on the left`.

A model that does not know the two apart gives both for either. Of a side before or behind the name of a structure
(`left lung`, `kidney on the right`) the structure is asked for and the side is cut from its mask
(`medclipsam.methods.one_side`); what names a side in another way (`left upper lobe`) is refused.
Not meant are names of single structures (left ventricle, left main coronary artery), places in the picture (at the top
left, in the right half of the brain), and both sides together (left and right lung, bilateral). `said_side` means all
of these but the last: it tells the words for the left ventricle from those for the right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medclipsam.errors import BadInput
from medclipsam.types import Side


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SIDES = frozenset({"left", "right", "lt", "rt"})
SAID: Mapping[Side, frozenset[str]] = {
    "left": _words("left lt lv lvc lvbp lvot lvedv LA sin sinister sinistra sinistrum sinistri sinistrae"),
    "right": _words("right rt rv rvc rvbp rvot rvedv RA dext dexter dextra dextrum dextri dextrae"),
}
"""Words that say a side, in English, in Latin, and in short names of the heart's chambers, two of which are words of
other languages in small letters."""
SINGLE = (
    *("ventric", "atri", "auric", "heart", "cardiac", "coronary", "circumflex", "bundle", "outflow", "aort"),
    *("main coronary", "main stem", "anterior descending", "anterior interventricular", "marginal"),
)
"""How the names of structures begin that are no pair although a side is part of them: heart and coronary arteries."""
PLACES = _words(
    "part parts side sides half section region regions zone area areas corner quadrant edge border margin portion "
    "center centre of in on at and or but with within is near to from above below over image picture"
)
"""What follows a side that is a place in the picture."""
WHERE = _words("upper lower top bottom middle mid central far outer inner most")
LEADING = frozenset({"on", "to", "in", "side", "sides"})
"""What may stand between an organ and the side that it is on."""
PAIRED = _words(
    "lung lungs kidney kidneys breast breasts eye eyes ovary ovaries testis testes testicle testicles adrenal adrenals "
    "hip hips knee knees shoulder shoulders femur femurs humerus tibia fibula radius ulna clavicle scapula hemithorax "
    "rib ribs ureter ureters hemisphere hemispheres hippocampus thalamus amygdala carotid parotid tonsil ear ears hand "
    "hands foot feet arm arms leg legs ankle wrist elbow lobe lobes bronchus pleura diaphragm retina orbit"
)
PARTS = _words("lobe lobes segment segments half halves lateral medial anterior posterior") | WHERE
"""Words of a part of a structure, which no middle of the body divides: a left lobe lies in the middle of a liver."""
_STOP = "."


class DecidedSides:
    """The side that the masks of each prompt were cut to, gathered over the images of a scan."""

    def __init__(self) -> None:
        self._sides: dict[str, set[Side | None]] = {}

    def add(self, prompt: str, side: Side | None) -> None:
        """Take what one answer says; see `medclipsam.types.Segmentation.side`."""
        self._sides.setdefault(prompt, set()).add(side)

    def of(self, prompt: str) -> Side | None:
        """The one that all answers of a prompt say; else None."""
        said = self._sides.get(prompt, set())
        return next(iter(said)) if len(said) == 1 else None


@dataclass(frozen=True, kw_only=True)
class OneSide:
    """A text that asks for one side of the patient."""

    side: Side
    structure: str
    """The text without the side: what is on both."""


def named_side(text: str) -> str | None:
    """The first words of a text that tell a side of a pair, such as `left lung`; None where there are none."""
    found = re.findall(r"[^\W\d_]+|[.,;:|]", text.casefold())
    words = [word if word.isalpha() else _STOP for word in found if word not in {"the", "a"}]
    words = [_spelled(words, place) for place in range(len(words))]
    for place, word in enumerate(words):
        if word in SIDES and not _of_both(words, place) and _tells(words[:place], words[place + 1 :]):
            return " ".join(each for each in words[max(0, place - 1) : place + 2] if each != _STOP)
    return None


def said_side(text: str) -> Side | None:
    """The side that a text says anywhere, of a single structure too (`LV`); None where it says none or both.

    What is cut from a mask, and what is refused, `one_side` and `named_side` tell.
    """
    words = set(re.findall(r"[A-Za-z]+", text))
    words |= {word.casefold() for word in words}
    said: list[Side] = [side for side, its_words in SAID.items() if words & its_words]
    return said[0] if len(said) == 1 else None


def one_side(text: str, *, pointed: bool = False) -> OneSide | None:
    """The side that a text asks for, all of its wordings (`|`) the same; None where it names none.

    Args:
        pointed: a person points at the place, so that a side that cannot be told does no harm.

    Raises:
        BadInput: it names a side in a way that cannot be cut from a mask, or both.
    """
    side = named_side(text)
    if side is None:
        return None
    found = [_split(wording) for wording in text.split("|") if wording.strip()]
    asked = {each.side for each in found if each}
    if None in found or len(asked) != 1:
        if pointed:
            return None
        raise BadInput(
            f"this preset cannot tell the side that {side!r} names",
            'say it before the structure ("left lung"), leave it out, point with --box, or choose another preset',
        )
    return OneSide(side=asked.pop(), structure=" | ".join(each.structure for each in found if each))


_SIDE = r"(?P<side>left|right|lt|rt|l|r)"
_BEFORE = re.compile(rf"^(?:(?:the|a|an)\s+)?{_SIDE}[\s_]+(?P<rest>[^\W\d_].*)$", re.IGNORECASE)
_BEHIND = re.compile(
    rf"^(?P<rest>.*?[^\W_])(?:[\s,_]*\(|[\s,_]+(?:(?:on|to)\s+the\s+)?){_SIDE}(?:\s+side)?\)?\.?$", re.IGNORECASE
)


def _split(wording: str) -> OneSide | None:
    """`left lung`, `the right kidney on CT`, `kidney_left`, `lung (L)`, `kidney on the right side`."""
    found = _BEFORE.match(wording.strip()) or _BEHIND.match(wording.strip())
    if not found or not named_side(wording) or named_side(found["rest"]):
        return None
    if PARTS & set(re.findall(r"[a-z]+", wording.casefold())):
        return None
    side: Side = "left" if found["side"].casefold().startswith("l") else "right"
    return OneSide(side=side, structure=found["rest"].replace("_", " ").strip())


def _spelled(words: Sequence[str], place: int) -> str:
    """`l lung` and `kidney r` mean left and right; one letter elsewhere means nothing here."""
    beside = words[place + 1] if place + 1 < len(words) else words[place - 1]
    return {"l": "left", "r": "right"}.get(words[place], words[place]) if beside in PAIRED else words[place]


def _tells(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether a side between these words is that of a pair."""
    until = after.index(_STOP) if _STOP in after else len(after)
    rest = [word for word in after[:until] if word not in WHERE]
    if not after[:until] and before and before[-1] not in PLACES | WHERE | {_STOP}:  # kidney_left
        return not any(word.startswith(SINGLE) for word in before)
    if " ".join(rest).startswith(SINGLE):
        return False
    if rest and (rest[0] not in PLACES or (rest[1:2] and rest[1] in PAIRED and rest[0] in {"side", "sides"})):
        return True
    owner = next((each for each in reversed(before) if each not in LEADING | {_STOP}), "")
    return owner in PAIRED and (not rest or rest[0] in LEADING)


def _of_both(words: Sequence[str], place: int) -> bool:
    """`left and right lung`, `right lung and left lung`: nothing is told apart."""
    others = [index for index, word in enumerate(words) if word in SIDES and word != words[place]]
    return any(_same_thing(words, *sorted((place, other))) for other in others)


def _same_thing(words: Sequence[str], first: int, second: int) -> bool:
    if words[second - 1] not in {"and", "or"}:
        return False
    thing = list(words[first + 1 : second - 1])
    return thing == list(words[second + 1 : second + 1 + len(thing)])
