"""Names the structures of a label map: which values of a reference belong to which name, from a file or an option.

dataset.json (nnU-Net)    {"labels": {"background": 0, "LV": 1, "whole heart": [1, 2, 3], "ignore": 4}, ...}
dataset.json (decathlon)  {"labels": {"0": "background", "1": "LV"}, ...}
labels.json               {"left ventricle": 3, "myocardium": 2}    or    {"3": "left ventricle", "2": "myocardium"}

Names are compared as words: `left_ventricle`, `Left ventricle` and `left-ventricle` are one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclipsam.errors import BadInput

FORMS = 'give {"name": value} or nnU-Net\'s {"labels": {"background": 0, "name": 1}}'
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What is measured of a label map."""

    name: str
    labels: tuple[int, ...]
    """The values that are this structure, together; a colour as 0xRRGGBB."""


@dataclass(frozen=True, kw_only=True)
class LabelNames:
    """The structures that a file names."""

    file: str
    structures: tuple[Structure, ...]
    ignored: tuple[int, ...] = ()
    """Values of pixels that are not measured: nnU-Net's `ignore`."""

    def find(self, name: str) -> Structure | None:
        """The structure of a name, or of a prompt that is the same words."""
        return next((each for each in self.structures if _words(each.name) == _words(name)), None)

    @property
    def told(self) -> str:
        """Which structures there are."""
        return f"{self.file} names {', '.join(each.name for each in self.structures)}"


def read_label_names(path: Path) -> LabelNames:
    """Read the names of labels.

    Raises:
        BadInput: a file that cannot be read, is none of the forms above, names no structure, or one twice.
    """
    content = _content(path)
    entries = content.get("labels", content) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise BadInput(f"{path.name} does not name labels", FORMS)
    named = [_entry(path.name, *entry) for entry in entries.items()]
    ignored = tuple(value for each in named if _words(each.name) == "ignore" for value in each.labels)
    kept = [each for each in named if each.labels != (0,) and _words(each.name) not in ("background", "ignore")]
    if not kept:
        raise BadInput(f"{path.name} names no label but the background", FORMS)
    words = [_words(each.name) for each in kept]
    twice = next((each.name for each in kept if words.count(_words(each.name)) > 1), None)
    if twice is not None:
        raise BadInput(f"{path.name} names {twice!r} twice", "give each structure a name of its own")
    return LabelNames(file=path.name, structures=tuple(kept), ignored=ignored)


def parse_label(text: str, names: LabelNames | None = None) -> Structure:
    """The structure that a person chose by value, by colour, or by a name of the file of names.

    Raises:
        BadInput: neither a value above 0 nor a colour nor such a name.
    """
    found = names.find(text) if names else None
    if found:
        return found
    if _COLOUR.fullmatch(text):
        return Structure(name=text, labels=(int(text[1:], 16),))
    if text.isdecimal() and int(text) > 0:
        known = [each for each in names.structures if each.labels == (int(text),)] if names else []
        return known[0] if known else Structure(name=text, labels=(int(text),))
    if names:
        raise BadInput(f"no label is called {text!r}; {names.told}", "choose one of them, or a value")
    raise BadInput(f"{text!r} is no label", "give its value, as --label 3, or name the labels with --labels FILE")


def structures_of(prompts: Sequence[str], names: LabelNames) -> Mapping[str, Structure]:
    """The structure that each prompt asks for; without the prompts that no label is called by.

    Raises:
        BadInput: no label is called like any of the prompts.
    """
    found = {prompt: names.find(prompt) for prompt in prompts}
    known = {prompt: structure for prompt, structure in found.items() if structure}
    if not known:
        asked = ", ".join(repr(prompt) for prompt in prompts) if any(prompts) else "like this run, which has no prompt"
        raise BadInput(f"no label is called {asked}; {names.told}", "name the label by the prompt, or give --label")
    return known


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path.name} cannot be read as JSON", str(error).split("\n")[0]) from error


def _entry(file: str, name: str, value: Any) -> Structure:
    """One entry, whichever of the two is the name."""
    if isinstance(value, str) and name.strip().isdecimal():
        name, value = value, int(name)
    values = value if isinstance(value, list) else [value]
    whole = [int(each) for each in values if _is_value(each)]
    if not values or len(whole) < len(values):
        raise BadInput(f"{file}: the entry of {name!r} is no label", FORMS)
    return Structure(name=name, labels=tuple(whole))


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().isdecimal()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _words(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.replace("_", " ").casefold()))
