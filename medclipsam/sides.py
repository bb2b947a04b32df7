"""Finds words that tell the left of a pair from the right: `left lung`, `right-sided effusion`, `kidney on the left`.

A model that does not know the two apart gives both for either, so that such words are refused where it is asked.
Not meant are names of single structures (left ventricle, left main coronary artery), places in the picture (at the top
left, in the right half of the brain), and both sides together (left and right lung, bilateral).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from medclipsam.errors import BadInput


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SIDES = frozenset({"left", "right", "lt", "rt"})
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
_STOP = "."


def named_side(text: str) -> str | None:
    """The first words of a text that tell a side of a pair, such as `left lung`; None where there are none."""
    found = re.findall(r"[^\W\d_]+|[.,;:|]", text.casefold())
    words = [word if word.isalpha() else _STOP for word in found if word not in {"the", "a"}]
    words = [_spelled(words, place) for place in range(len(words))]
    for place, word in enumerate(words):
        if word in SIDES and not _of_both(words, place) and _tells(words[:place], words[place + 1 :]):
            return " ".join(each for each in words[max(0, place - 1) : place + 2] if each != _STOP)
    return None


def check_no_side(text: str) -> None:
    """Refuse a text that tells a side.

    Raises:
        BadInput: it does.
    """
    side = named_side(text)
    if side is not None:
        raise BadInput(
            f"this preset does not tell left from right, and {side!r} names a side",
            "leave the side out, point at it with --box, or choose another preset",
        )


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
