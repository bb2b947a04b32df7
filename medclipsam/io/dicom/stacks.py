"""Puts the pictures of a folder into stacks of slices, in order, and says what is odd about them.

    planes --series, orientation, size, frame of reference--> groups --one place, one picture--> stacks

    position along the normal of the plane, never the file's name or number:

        |  |  |     |  |      a slice is missing           each slice as it is; a gap parts neighbours
        |  | |    |   |       unevenly spaced              the same
        /  /  /  /            gantry tilt                  the same: no slice is resampled
        || |  |  |            twice the same object        once
        || || || ||           phases, echoes, weights      stacks of their own, by what tells them apart; else refused
        ?  ?  ?               no geometry                  by instance number, no neighbours; without one refused

Localizers are stacks too, but never the one that is taken unless they are asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from highdicom.spatial import get_normal_vector, get_volume_positions
from pydicom import dcmread

from medclipsam.errors import BadInput
from medclipsam.io.dicom.planes import Plane, Vector
from medclipsam.io.source import PLANES, neighbour_gap

COSINE_TOLERANCE = 2e-3
"""Slices whose direction cosines differ by less (0.1 degrees) are parallel."""
SAME_PLACE_MM = 1e-3
UNEVEN = 0.05
"""Share of the slice distance by which slices may lie off a regular grid."""
TILT_DEGREES = 0.5
"""Below this a stack counts as upright."""
NO_PLACE = "the slices do not say where they lie: ordered by instance number, each on its own"
SAME_TWICE = "slices that are there twice were taken once"
TILTED = "gantry tilt of {:.1f} degrees: each slice and its mask stay where the scanner put them"
MISSING = "{} slices are missing: those beside a gap do not count as neighbours"
SPACED = "the slices are unevenly spaced, {:.2f} to {:.2f} mm"
MOST_LISTED = 12


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Slices in order, along the normal of their plane."""

    planes: tuple[Plane, ...]
    places_mm: tuple[float, ...] | None
    """Where each lies along the normal; None where the files do not say."""
    warnings: tuple[str, ...] = ()

    @property
    def localizer(self) -> bool:
        """Whether it is an overview for planning."""
        return self.planes[0].localizer

    @property
    def plane(self) -> str:
        """`axial`, `coronal` or `sagittal`, the nearest; empty where the files do not say."""
        orientation = self.planes[0].orientation
        return PLANES[int(np.abs(normal_of(orientation)).argmax())] if orientation else ""

    @property
    def spoken(self) -> str:
        """For a person who must choose; nothing of the patient."""
        height, width = self.planes[0].size
        kind = "localizer " * self.localizer + (self.planes[0].modality or "images")
        return " ".join(part for part in (kind, self.plane, f"{width} x {height} x {len(self.planes)}") if part)


def stacks_of(planes: Sequence[Plane]) -> list[Stack]:
    """All stacks, the largest first; those of one size in the order of the files.

    Raises:
        BadInput: pictures at one place that nothing tells apart, or without place and number.
    """
    stacks = [stack for group in _groups(planes) for stack in _stacks(group)]
    return sorted(stacks, key=lambda stack: (stack.localizer, -len(stack.planes)))


def choose(stacks: Sequence[Stack], wanted: str | None, name: str) -> Stack:
    """The stack that a person wants: by its number in the list from 1, by its Series Instance UID, or the only one.

    Raises:
        BadInput: none such, or several; the list is in the message.
    """
    if wanted is not None and wanted.isdecimal() and len(wanted) < 6:
        if not 1 <= int(wanted) <= len(stacks):
            raise BadInput(f"{name}: has no series {wanted}", _listed(stacks))
        return stacks[int(wanted) - 1]
    fitting = [stack for stack in stacks if wanted in (None, stack.planes[0].series)]
    if not fitting:
        raise BadInput(f"{name}: no series has this UID", _listed(stacks))
    scans = [stack for stack in fitting if not stack.localizer] or fitting
    if len(scans) > 1:
        raise BadInput(f"{name}: holds {len(scans)} series", _listed(stacks))
    left_out = len(fitting) - len(scans)
    note = (f"{left_out} localizer{'s' * (left_out > 1)} left out",) if left_out else ()
    return replace(scans[0], warnings=(*scans[0].warnings, *note))


def _listed(stacks: Sequence[Stack]) -> str:
    told = [f"{number} ({stack.spoken})" for number, stack in enumerate(stacks[:MOST_LISTED], 1)]
    more = f" and {len(stacks) - MOST_LISTED} more" if len(stacks) > MOST_LISTED else ""
    return f"choose one by --series N: {', '.join(told)}{more}"


def _groups(planes: Sequence[Plane]) -> Iterator[list[Plane]]:
    """Parallel planes of one series, size and frame of reference."""
    alike: dict[tuple[object, ...], list[list[Plane]]] = defaultdict(list)
    for plane in planes:
        groups = alike[plane.series, plane.reference, plane.size, plane.localizer, plane.placed]
        for group in groups:
            if _parallel(plane, group[0]):
                group.append(plane)
                break
        else:
            groups.append([plane])
    for groups in alike.values():
        yield from groups


def _parallel(one: Plane, other: Plane) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    return bool(np.abs(np.subtract(one.orientation, other.orientation)).max() < COSINE_TOLERANCE)


def _stacks(group: list[Plane]) -> Iterator[Stack]:
    """The stack that a group makes, or those that it falls into where several pictures lie at one place."""
    once = _without_twins(group)
    twice = (SAME_TWICE,) if len(once) < len(group) else ()
    if not once[0].placed:
        yield Stack(planes=tuple(_by_number(once)), places_mm=None, warnings=(NO_PLACE, *twice))
        return
    for part in _told_apart(once):
        places = _places(part)
        order = np.argsort(places, kind="stable")
        planes, sorted_mm = tuple(part[k] for k in order), tuple(float(places[k]) for k in order)
        yield Stack(planes=planes, places_mm=sorted_mm, warnings=(*_oddities(planes, sorted_mm), *twice))


def _without_twins(group: list[Plane]) -> list[Plane]:
    """Each frame of each object once; objects of one UID are the same, or the folder is refused."""
    kept: dict[tuple[object, ...], Plane] = {}
    for plane in group:
        key = (plane.instance, plane.frame) if plane.instance else (plane.member.place, plane.frame)
        first = kept.setdefault(key, plane)
        if first is not plane and not (_same(first, plane) and _same_pixels(first, plane)):
            raise BadInput("two different images have one SOP Instance UID", "keep one of them, or ask who made them")
    return list(kept.values())


def _same(one: Plane, other: Plane) -> bool:
    return (one.position, one.orientation, one.number) == (other.position, other.orientation, other.number)


def _same_pixels(one: Plane, other: Plane) -> bool:
    """Whether two objects hold the same pixels, while what an archive adds to a header may differ."""
    if one.frame:
        return True
    found = []
    for member in (one.member, other.member):
        with member.open() as stream:
            found.append(dcmread(stream, specific_tags=["PixelData"], force=True).get("PixelData"))
    return bool(found[0] == found[1])


def _told_apart(group: list[Plane]) -> list[list[Plane]]:
    """The group itself where each place has one picture; else parts of it by the first mark that makes it so."""
    if _one_each(group):
        return [group]
    for mark in range(len(group[0].marks)):
        parts: dict[str, list[Plane]] = defaultdict(list)
        for plane in group:
            parts[plane.marks[mark]].append(plane)
        if len(parts) > 1 and all(_one_each(part) for part in parts.values()):
            return list(parts.values())
    raise BadInput("several images lie at one place, and nothing tells them apart", "give one image of each place")


def _one_each(group: list[Plane]) -> bool:
    return len(group) == 1 or bool(np.diff(np.sort(_places(group))).min() > SAME_PLACE_MM)


def _by_number(group: list[Plane]) -> list[Plane]:
    """Films and flat scans: by instance number and frame."""
    keys = [(plane.number, plane.frame) for plane in group]
    if len(group) > 1 and (len(set(keys)) < len(keys) or any(number is None for number, _ in keys)):
        raise BadInput("the images say neither where they lie nor in which order", "give them one by one")
    return sorted(group, key=lambda plane: (plane.number or 0, plane.frame))


def normal_of(orientation: Vector) -> np.ndarray:
    """The unit vector that rows and columns with these direction cosines are perpendicular to."""
    return np.asarray(get_normal_vector(orientation))


def _places(group: Sequence[Plane]) -> np.ndarray:
    """(n,): where each plane lies along the common normal, in mm."""
    positions = np.array([plane.position for plane in group], float)
    return positions @ normal_of(group[0].orientation or ())


def _oddities(planes: Sequence[Plane], places_mm: Sequence[float]) -> Iterator[str]:
    """What a person should know of a stack of two or more slices."""
    if len(planes) < 2:
        return
    positions = np.array([plane.position for plane in planes], float)
    orientation = planes[0].orientation or ()
    normal = normal_of(orientation)
    along = positions[-1] - positions[0]
    tilt = float(np.degrees(np.arccos(np.clip(along @ normal / np.linalg.norm(along), -1, 1))))
    if tilt > TILT_DEGREES:
        yield TILTED.format(tilt)
    steps = np.diff(places_mm)
    if steps.max() - steps.min() <= UNEVEN * np.median(steps):
        return
    upright = np.outer(places_mm, normal).tolist()
    usual = float(np.median(steps))
    spacing, at = get_volume_positions(
        upright, orientation, allow_missing_positions=True, spacing_hint=usual, rtol=UNEVEN
    )
    if spacing is None or at is None:
        yield SPACED.format(steps.min(), steps.max())
    elif steps.max() > neighbour_gap(places_mm):
        yield MISSING.format(max(at) + 1 - len(planes))
