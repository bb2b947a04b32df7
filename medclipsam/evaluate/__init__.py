"""Measures a folder of masks and compares two runs: the library behind `medclipsam evaluate`."""

from __future__ import annotations

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
