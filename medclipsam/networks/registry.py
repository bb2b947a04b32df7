"""The networks that learn from masks and texts: kind -> its settings and the function that builds it.

A network more is one line here, a settings class (no torch) and a module; nothing of it is imported before it is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medclipsam.errors import BadInput
from medclipsam.networks.biclip_settings import BiclipSettings
from medclipsam.networks.emclip_settings import EmClipSettings
from medclipsam.networks.medclipseg.settings import MedClipSegSettings
from medclipsam.networks.settings import NetworkSettings, UNetSettings

if TYPE_CHECKING:
    import torch

    from medclipsam.networks.contract import SupervisedNetwork, Taught


@dataclass(frozen=True, kw_only=True)
class NetworkKind:
    """One kind of network."""

    settings: type[NetworkSettings]
    builder: str
    """`module:function`, called with the settings, what is taught, and the device of the frozen parts."""


NETWORKS: Mapping[str, NetworkKind] = {
    UNetSettings.kind: NetworkKind(settings=UNetSettings, builder="medclipsam.networks.unet:build"),
    MedClipSegSettings.kind: NetworkKind(
        settings=MedClipSegSettings, builder="medclipsam.networks.medclipseg.build:build"
    ),
    BiclipSettings.kind: NetworkKind(settings=BiclipSettings, builder="medclipsam.networks.biclip:build"),
    EmClipSettings.kind: NetworkKind(settings=EmClipSettings, builder="medclipsam.networks.emclip:build"),
}


def build(settings: NetworkSettings, taught: Taught, device: torch.device) -> SupervisedNetwork:
    """A network with new weights, drawn from torch's default generator, on the CPU; frozen parts are on `device`.

    Raises:
        MissingWeights, WrongHash: frozen weights that are not there; see `medclipsam.weights.find`.
    """
    module, function = NETWORKS[settings.kind].builder.split(":")
    network: SupervisedNetwork = getattr(import_module(module), function)(settings, taught, device)
    return network


def settings_as_dict(settings: NetworkSettings) -> dict[str, Any]:
    """For JSON: every setting, and `kind`."""
    return {"kind": settings.kind, **asdict(settings)}


def settings_from(facts: Mapping[str, Any]) -> NetworkSettings:
    """What `settings_as_dict` gave, back from JSON.

    Raises:
        BadInput: a kind or a setting that this version does not know.
    """
    values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in facts.items()}
    kind = values.pop("kind", None)
    if kind not in NETWORKS:
        raise BadInput(f"this version has no network {str(kind)[:40]!r}", f"it has {', '.join(NETWORKS)}")
    try:
        return NETWORKS[kind].settings(**values)
    except TypeError as error:
        raise BadInput(f"the settings of this {kind} are of another version", "train it again") from error
