"""Do imports point down? One image can then be followed from the command line to the mask without jumping back.

cli -> training, evaluate -> runs -> volume -> methods -> prompting, networks -> backbones -> io, weights, metrics ->
config
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PACKAGE = Path(__file__).resolve().parents[1] / "medclipsam"
LAYERS = (
    ("errors", "notice", "types"),
    ("config", "sides", "words"),
    ("drawing", "engines", "html", "io", "memory", "metrics", "pacs", "prompt_table", "report", "runtime", "weights"),
    ("backbones",),
    ("networks",),
    ("prompting",),
    ("methods",),
    ("volume",),
    ("runs",),
    ("review",),
    ("evaluate", "export", "refine", "training"),
    ("serve",),
    ("app", "cli"),
    ("__main__", "napari_plugin"),
)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
"""All but the public face, which names things of every layer and loads them when asked."""
HEAVY = ("torch", "torchvision", "open_clip", "transformers", "pydicom", "scipy", "cv2")
LIGHT_UNITS = ("cli", "config", "errors", "notice", "words", "__main__", "__init__")


def unit_of(path: Path) -> str:
    """The first folder or module below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_units(path: Path) -> set[str]:
    """The units of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "medclipsam":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medclipsam."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("medclipsam.")}
    return found - {unit_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_layer_or_below(path: Path) -> None:
    level = LEVEL[unit_of(path)]
    assert {unit for unit in imported_units(path) & LEVEL.keys() if LEVEL[unit] > level} == set()


def test_no_two_parts_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        graph.setdefault(unit_of(path), set()).update(imported_units(path) & LEVEL.keys())
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_answers_and_imports_by_full_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level] == []
    assert ast.get_docstring(tree) or not tree.body


def test_the_command_line_and_the_public_face_load_nothing_heavy() -> None:
    light = [path for path in PACKAGE.rglob("*.py") if unit_of(path) in LIGHT_UNITS]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in light]
    assert "medclipsam.cli.segment" in names
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_embedded_preset_loads_no_library_that_only_other_presets_need() -> None:
    """They would take longer to load than the scan to segment."""
    code = "import sys, medclipsam.runs.one_scan, medclipsam.runs, medclipsam.methods.loading\n"
    code += "print([name for name in ('open_clip', 'timm', 'transformers', 'torchvision', 'torch._dynamo', 'scipy', "
    code += "'skimage', 'nibabel', 'pydicom', 'highdicom', 'rich') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_who_measures_masks_or_reads_records_needs_no_torch() -> None:
    code = "import sys, medclipsam.evaluate, medclipsam.runs.manifest\n"
    code += "print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"


def test_measuring_two_folders_of_pictures_loads_few_modules_of_ours(tmp_path: Path) -> None:
    """Neither volumes nor the records of runs nor the methods: 88 modules before, 30 now."""
    for folder in ("found", "truth"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / folder / "a.png")
    code = "import sys, medclipsam.cli\n"
    code += f"sys.argv = ['medclipsam', 'evaluate', {str(tmp_path / 'found')!r}, {str(tmp_path / 'truth')!r}]\n"
    code += "try: medclipsam.cli.main()\nexcept SystemExit as end: assert not end.code\n"
    code += "print(sum(name.split('.')[0] == 'medclipsam' for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(loaded.stdout.split()[-1]) <= 30
