"""Reads which prompts belong to which image: a CSV or JSON table for a folder of images.

    prompts.csv                         prompts.json
    file,prompt                         {"scan1.png": "breast tumor",
    scan1.png,breast tumor               "scan2.png": ["left ventricle", "myocardium"]}
    scan2.png,left ventricle
    scan2.png,myocardium                the layout of the released MedCLIP-SAMv2 prompt files, or a list of prompts

A file on several rows of the CSV has several prompts. Other columns are left alone. What spreadsheets make of a CSV is
told in `medclipsam.io.tables`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.tables import Row, csv_rows, table_text
from medclipsam.words import check_prompt

COLUMNS = ("file", "prompt")
LAYOUT = 'give CSV columns file,prompt or JSON {"file": "prompt"}'


def read_prompt_table(path: Path) -> Mapping[str, tuple[str, ...]]:
    """The prompts of each file, in the order of the table.

    Raises:
        BadInput: a table that cannot be read, has another layout, is empty, or has a file without a prompt or twice
            with the same prompt.
    """
    read = {".csv": _csv_prompts, ".json": _json_rows}.get(path.suffix.lower())
    if read is None:
        raise BadInput(f"{path.name}: prompts are read from .csv or .json", LAYOUT)
    table: dict[str, tuple[str, ...]] = {}
    for place, file, words in read(path):
        if not file.strip():
            raise BadInput(f"{path.name}, {place}: the file is missing")
        prompt = _checked(words, f"{path.name}, {place}")
        if prompt in table.get(file, ()):
            raise BadInput(f"{path.name}, {place}: {file!r} has the prompt {prompt!r} twice")
        table[file] = (*table.get(file, ()), prompt)
    if not table:
        raise BadInput(f"{path.name} holds no prompts", LAYOUT)
    return table


def _checked(words: str, place: str) -> str:
    try:
        return check_prompt(words)
    except BadInput as error:
        raise BadInput(f"{place}: {error.problem}", error.remedy) from error


def _csv_prompts(path: Path) -> Iterator[Row]:
    return csv_rows(path, COLUMNS)


def _json_rows(path: Path) -> Iterator[Row]:
    for file, prompts in _json_entries(path):
        if not isinstance(prompts, str | list) or not all(isinstance(prompt, str) for prompt in prompts):
            raise BadInput(f"{path.name}: the entry of {file!r} is neither a prompt nor a list of prompts", LAYOUT)
        for prompt in [prompts] if isinstance(prompts, str) else prompts or [""]:
            yield f"entry {file!r}", file, prompt


def _json_entries(path: Path) -> list[tuple[str, object]]:
    """The entries of the outer object; a list of pairs keeps a file that is named twice."""
    try:
        pairs = json.loads(table_text(path), object_pairs_hook=_Entries)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path.name} is not JSON", str(error)) from error
    if not isinstance(pairs, _Entries):
        raise BadInput(f"{path.name} does not hold one JSON object", LAYOUT)
    return pairs


class _Entries(list[tuple[str, object]]):
    """The pairs of one JSON object, in order."""
