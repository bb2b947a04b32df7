"""Decides on a stack of slices as a whole: what was answered slice by slice goes through the rule's stages.

answers --agree, share--> answers --largest--> answers      in the order of the slices, each with its picture
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from medclipsam.types import MedImage
from medclipsam.volume.neighbours import Answered, Ask, with_neighbours
from medclipsam.volume.parts import largest_parts
from medclipsam.volume.rules import VolumeRule


def decide(
    slices: Iterable[Answered],
    places_mm: Sequence[float] | None,
    rule: VolumeRule,
    *,
    ask: Ask | None,
    again: Callable[[int], MedImage],
) -> Iterator[Answered]:
    """The slices with their final answers.

    Args:
        slices: in the order of their places.
        places_mm: where each lies along the stack; None where pictures are no stack: then nothing is changed.
        rule: how slices inform each other.
        ask: asks a prompt of a slice once more, with a box; None where the method takes no hints.
        again: reads the picture of the slice that came as number k once more.
    """
    if places_mm is None or len(places_mm) < 2:
        return iter(slices)
    heard = with_neighbours(slices, places_mm, rule, ask)
    return largest_parts(heard, again) if rule.largest else heard
