"""What tests of batches share: small scans, the records of a folder, and the tree that two runs must agree on."""

from __future__ import annotations

from pathlib import Path

from bright import bright_square
from PIL import Image

from medclipsam.runs import Record, read_manifest


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def save_scan(path: Path, top: int = 5) -> Path:
    """A 40 x 60 scan with a bright square of 10 x 10 at row `top`, column 20."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(bright_square(40, 60, top=top, left=20, side=10)).save(path)
    return path


def records_of(folder: Path) -> dict[str, Record]:
    """Records by the stem of their file, and the prompt where there is more than one."""
    found = read_manifest(folder / "manifest.jsonl").values()
    prompts = {record.prompt for record in found}
    return {
        record.case.rpartition("-")[0] + (f" {record.prompt}" if len(prompts) > 1 else ""): record for record in found
    }


def tree(folder: Path) -> dict[str, bytes]:
    """Every visible file by its path; the manifest without times."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}
    for name in [name for name in files if name.endswith(".jsonl")]:
        files[name] = b"\n".join(line.partition(b', "seconds"')[0] for line in files[name].splitlines())
    return files
