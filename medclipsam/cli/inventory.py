"""Lists what is installed: versions, methods, presets, targets, formats, extras, weights; for `medclipsam info`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from medclipsam.notice import RESEARCH_USE_ONLY

_REQUIREMENT = re.compile(r"""^([A-Za-z0-9._-]+).*;.*extra\s*==\s*['"]([^'"]+)['"]""")
"""`fastapi>=0.120; extra == 'serve'` in the metadata of a package."""
NO_EXTRA = "dev"
"""What only developers need."""


def describe() -> dict[str, Any]:
    """Everything, as plain values."""
    from medclipsam.config import PRESETS
    from medclipsam.report import versions
    from medclipsam.runtime import pick_device

    return {
        "notice": RESEARCH_USE_ONLY,
        "versions": versions(),
        "device": str(pick_device()),
        "methods": methods(),
        "presets": {name: {"method": preset.method, **asdict(preset)} for name, preset in PRESETS.items()},
        "targets": targets(),
        "formats": formats(),
        "extras": extras(),
        "weights": weights(),
    }


def methods() -> dict[str, dict[str, Any]]:
    """Each way from an image and a text to a mask, and how one comes by it."""
    from medclipsam.config import PRESETS
    from medclipsam.methods import METHODS

    return {
        name: {
            "takes_hints": method.takes_hints,
            "presets": [preset.name for preset in PRESETS.values() if preset.method == name],
            "run_file": method.run_file,
        }
        for name, method in METHODS.items()
    }


def targets(name: str = "embedded") -> list[dict[str, Any]]:
    """What the model of a preset was taught.

    Raises:
        BadInput: a preset that was taught no list.
    """
    from medclipsam.config import EMBEDDED_CLIPS, zeroshot_preset
    from medclipsam.errors import BadInput
    from medclipsam.weights.targets import known_targets

    clip = zeroshot_preset(name).clip
    if clip not in EMBEDDED_CLIPS:
        raise BadInput(f"the preset {name} was taught no list of targets", "it takes any words")
    return [asdict(target) for target in known_targets(clip)]


def formats() -> dict[str, list[str]]:
    """Formats of scans that are read, and of masks that are written."""
    from medclipsam.io.mask_formats import ScanFormat
    from medclipsam.io.sniff import CALLED

    return {"scans": list(CALLED), "masks": [name for name in get_args(ScanFormat) if name != "auto"]}


def extras() -> dict[str, dict[str, Any]]:
    """Each extra with its packages, by whether all of them are installed; none where no package was installed."""
    from importlib import metadata

    try:
        required = metadata.requires("medclipsam") or ()
    except metadata.PackageNotFoundError:
        return {}
    packages: dict[str, list[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, required)):
        packages.setdefault(match[2], []).append(match[1])
    packages.pop(NO_EXTRA, None)
    return {
        name: {"installed": all(map(_is_installed, needed)), "packages": needed}
        for name, needed in sorted(packages.items())
    }


def weights() -> dict[str, dict[str, Any]]:
    """All known weights, and where they are on this machine."""
    from medclipsam import weights

    return {key: _weights_row(entry, weights.locate(key)) for key, entry in weights.known().items()}


def _weights_row(entry: Any, located: tuple[str, Sequence[Any]] | None) -> dict[str, Any]:
    origin, paths = located or (None, ())
    return {
        "card": entry.card,
        "licence": entry.licence,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "source": entry.url_base or f"package {entry.package}",
        "origin": origin,
        "place": str(paths[0]) if paths else None,
    }


def _is_installed(package: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
