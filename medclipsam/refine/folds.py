"""Cuts pictures into folds by whole groups: a patient's pictures are all learned from, or all held out.

groups  A: a1 a2 a3   B: b1 b2   C: c1         2 folds: {A} and {B, C}
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import TypedDict

from medclipsam.errors import BadInput


class Fold(TypedDict):
    """One entry of nnU-Net's `splits_final.json`."""

    train: list[str]
    val: list[str]


def grouped_folds(groups: Mapping[str, str], count: int, seed: int) -> list[Fold]:
    """Cut into folds of about equal size.

    Args:
        groups: of each picture.
        count: how many folds, at least 2.
        seed: of the order in which groups of one size are dealt.

    Raises:
        BadInput: fewer groups than folds.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name, group in groups.items():
        members[group].append(name)
    if len(members) < count:
        raise BadInput(f"{len(members)} groups do not make {count} folds", "ask for fewer, or give more groups")
    held: list[list[str]] = [[] for _ in range(count)]
    for group in sorted(members, key=lambda group: (-len(members[group]), _drawn(seed, group))):
        min(held, key=len).extend(members[group])
    return [{"train": sorted(groups.keys() - set(val)), "val": sorted(val)} for val in held]


def _drawn(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()
