"""A network that nnU-Net trained, asked through its kept weights (Isensee et al., Nature Methods 2021).

a scan's square --nnU-Net's preprocessing, once--> each member: sliding window, mirrored -> probability
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.squares import Square
from medclipsam.errors import MissingExtra
from medclipsam.methods.members import exchange

CONFIGURATION = "2d"
NETWORK = ("plans.json", "dataset.json")


def check_installed() -> None:
    """Say early what would fail late.

    Raises:
        MissingExtra: nnU-Net is not installed.
    """
    try:
        import nnunetv2  # noqa: F401, PLC0415  (optional)
    except ImportError as error:
        raise MissingExtra("nnU-Net", "nnunet") from error


def load_member(run: Path, network: Mapping[str, Any], device: torch.device) -> NnUNetMember:
    """The network of a finished run, without weights yet.

    Raises:
        MissingExtra: nnU-Net is not installed.
    """
    check_installed()
    plans, dataset = (json.loads((run / "network" / name).read_text("utf-8")) for name in NETWORK)
    return NnUNetMember(plans, dataset, network["mirrored"], device)


class NnUNetMember:
    """nnU-Net's network inside its own predictor: sliding window with overlap 0.5, Gaussian weights, mirroring."""

    def __init__(
        self, plans: dict[str, Any], dataset: dict[str, Any], mirrored: Sequence[int], device: torch.device
    ) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415  (optional)
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: PLC0415
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels  # noqa: PLC0415
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

        manager = PlansManager(plans)
        configuration = manager.get_configuration(CONFIGURATION)
        labels = manager.get_label_manager(dataset)
        channels = determine_num_input_channels(manager, configuration, dataset)
        self._network = nnUNetTrainer.build_network_architecture(
            manager, configuration, channels, labels.num_segmentation_heads, enable_deep_supervision=False
        )
        with redirect_stdout(StringIO()):
            self._predictor = nnUNetPredictor(
                use_mirroring=bool(mirrored), perform_everything_on_device=True, device=device, allow_tqdm=False
            )
        self._predictor.manual_initialization(
            self._network, manager, configuration, None, dataset, "CyclicTrainer", tuple(mirrored) or None
        )
        self._manager, self._configuration, self._dataset, self._labels = manager, configuration, dataset, labels

    def load(self, weights: Path) -> None:
        """See `medclipsam.methods.members.Member`."""
        exchange(self._network, weights)

    def prepare(self, square: Square) -> tuple[Tensor, dict[str, Any]]:
        """nnU-Net's preprocessing of a natural image, and what it needs to undo it."""
        properties: dict[str, Any] = {"spacing": (999.0, 1.0, 1.0)}
        pixels = np.ascontiguousarray(square.transpose(2, 0, 1)[:, None], np.float32)
        preprocessor = self._configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            pixels, None, properties, self._manager, self._configuration, self._dataset
        )
        return torch.from_numpy(data), properties

    def probability(self, prepared: tuple[Tensor, dict[str, Any]]) -> Tensor:
        """See `medclipsam.methods.members.Member`."""
        from nnunetv2.inference.export_prediction import (  # noqa: PLC0415  (optional)
            convert_predicted_logits_to_segmentation_with_correct_shape as restored,
        )

        data, properties = prepared
        logits = self._predictor.predict_sliding_window_return_logits(data).cpu().float()
        _, probability = restored(
            logits,
            self._manager,
            self._configuration,
            self._labels,
            properties,
            return_probabilities=True,
            num_threads_torch=torch.get_num_threads(),
        )
        return torch.from_numpy(np.asarray(probability[1, 0]))
