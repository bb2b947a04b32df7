"""What may a reader do with any bytes? Give pictures with finite values in [0, 1], or refuse in one short line.

python tests/fuzz/fuzz_dicom.py FOLDER -max_total_time=600        python tests/fuzz/fuzz_nifti.py FOLDER ...

FOLDER is where the fuzzer keeps what it finds worth changing; it begins with small true files. This needs atheris
(`pip install atheris`), which nothing else here does. What a run finds goes into `found/`, and is mended.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOUND = HERE / "found"
MOST_PICTURES = 2
LONGEST_LINE = 300


def read_anything(data: bytes, suffix: str, folder: Path) -> bool:
    """Read `data` as a file; whether it was read.

    Raises:
        AssertionError: a refusal that is no short line.
        Exception: whatever a reader lets through; that is what is looked for.
    """
    from medclipsam.errors import BadInput
    from medclipsam.io import read_images

    path = folder / f"x{suffix}"
    path.write_bytes(data)
    try:
        for _ in zip(read_images(path, max_pixels=2**20), range(MOST_PICTURES), strict=False):
            pass
    except BadInput as error:
        assert "\n" not in str(error)
        assert len(str(error)) < LONGEST_LINE
        return False
    return True


def seeds(suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """Small true files of these suffixes, by name."""
    sys.path.insert(0, str(HERE.parent))
    from mutated_files import corpus

    with tempfile.TemporaryDirectory() as folder:
        return {path.name: path.read_bytes() for path in corpus(Path(folder)) if path.name.endswith(suffixes)}


def fuzz(suffix: str, seed_suffixes: tuple[str, ...], instrumented: tuple[str, ...]) -> None:
    """Change files for as long as the command line says, and stop at the first that ends in anything else."""
    import atheris

    with atheris.instrument_imports(include=[*instrumented, "medclipsam.io"]):
        for module in (
            *instrumented,
            "medclipsam.io.reading",
            "medclipsam.io.dicom.frames",
            "medclipsam.io.volumes.nifti",
        ):
            __import__(module)
    corpus = Path(next(word for word in sys.argv[1:] if not word.startswith("-")))
    corpus.mkdir(parents=True, exist_ok=True)
    for name, content in seeds(seed_suffixes).items():
        (corpus / name).write_bytes(content)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        atheris.Setup(sys.argv, _quiet(lambda data: read_anything(data, suffix, folder)))
        atheris.Fuzz()


def _quiet(read: Callable[[bytes], bool]) -> Callable[[bytes], None]:
    def one_input(data: bytes) -> None:
        read(data)

    return one_input
