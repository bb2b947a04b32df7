"""Measures a folder of masks and compares two runs: the library behind `medclipsam evaluate`.

Nothing is loaded before it is used: two folders of pictures need neither volumes nor the records of a run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medclipsam.evaluate.groups import read_groups
    from medclipsam.evaluate.masks import LabelFile, MaskFile, SeveralLabels, read_labels, read_mask
    from medclipsam.evaluate.measuring import Measuring
    from medclipsam.evaluate.pairs import Masks, Pairing, pair_folders
    from medclipsam.evaluate.protocol import as_in_the_paper, beside_the_paper, standing
    from medclipsam.evaluate.run import Case, Evaluation, compare_runs, evaluate_folders
    from medclipsam.evaluate.structures import LabelNames, Structure, parse_label, read_label_names
    from medclipsam.evaluate.tables import to_record, write_csv, write_json

__all__ = [
    "Case",
    "Evaluation",
    "LabelFile",
    "LabelNames",
    "MaskFile",
    "Masks",
    "Measuring",
    "Pairing",
    "SeveralLabels",
    "Structure",
    "as_in_the_paper",
    "beside_the_paper",
    "compare_runs",
    "evaluate_folders",
    "pair_folders",
    "parse_label",
    "read_groups",
    "read_label_names",
    "read_labels",
    "read_mask",
    "standing",
    "to_record",
    "write_csv",
    "write_json",
]

_HOMES = {
    "Case": "run",
    "Evaluation": "run",
    "LabelFile": "masks",
    "LabelNames": "structures",
    "MaskFile": "masks",
    "Masks": "pairs",
    "Measuring": "measuring",
    "Pairing": "pairs",
    "SeveralLabels": "masks",
    "Structure": "structures",
    "as_in_the_paper": "protocol",
    "beside_the_paper": "protocol",
    "compare_runs": "run",
    "evaluate_folders": "run",
    "pair_folders": "pairs",
    "parse_label": "structures",
    "read_groups": "groups",
    "read_label_names": "structures",
    "read_labels": "masks",
    "read_mask": "masks",
    "standing": "protocol",
    "to_record": "tables",
    "write_csv": "tables",
    "write_json": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
