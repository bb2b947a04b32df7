"""Does a manifest survive crashes, strangers and hostile hands?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.runs.manifest import ManifestFile, Picture, Record, read_manifest, write_manifest

HASH = "0" * 64
number = st.floats(0, 1e6)
scores = st.lists(number, max_size=3).map(tuple)
box = st.none() | st.tuples(number, number, number, number)
text = st.text(st.characters(exclude_categories=["Cs"]))


def record(case: str = "a-1", prompt: str | None = "x", **changed: Any) -> Record:
    return Record(**{"case": case, "prompt": prompt, "status": "done", "config_sha256": HASH, **changed})


pictures = st.builds(
    Picture,
    index=st.integers(0, 500),
    status=st.sampled_from(["done", "doubtful", "not found"]),
    presence=number,
    confidence=st.none() | number,
    sam_scores=scores,
    box=box,
    area_px=st.integers(0, 10**6),
    area_mm2=st.none() | number,
)


@given(
    prompt=st.none() | text,
    reason=st.none() | text,
    sam_scores=scores,
    box=box,
    pictures=st.lists(pictures, max_size=3).map(tuple),
    warnings=st.lists(text, max_size=2).map(tuple),
)
def test_a_record_comes_back_from_its_line_whatever_its_words(**fields: Any) -> None:
    made = record(**fields, outputs={"masks/x/a-1.png": HASH})
    line = made.to_line()
    assert line.count(b"\n") == 1
    assert Record.from_line(line) == made


@pytest.mark.parametrize(
    "changed",
    [
        {"outputs": {"../../home/file.png": HASH}},
        {"outputs": {"masks/../../file.png": HASH}},
        {"outputs": {"/etc/passwd": HASH}},
        {"outputs": {"masks/x/a.sh": HASH}},
        {"case": "../a"},
        {"case": 3},
        {"status": "perfect"},
        {"confidence": "<script>"},
        {"warnings": [3]},
        {"schema": 2},
        {"unknown": 1},
        {"pictures": [{"index": 0}]},
        {"box": 7},
    ],
)
def test_a_line_that_no_run_writes_is_no_record(changed: dict[str, Any]) -> None:
    fields = json.loads(record().to_line())
    assert Record.from_line(json.dumps(fields).encode()) == record()
    assert Record.from_line(json.dumps({**fields, **changed}).encode()) is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b"{}", b"\xff\xfe", b"\0" * 100, b"[" * 100_000])
def test_garbage_is_no_record(line: bytes) -> None:
    assert Record.from_line(line) is None


def test_the_last_record_of_a_case_counts(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with ManifestFile(path) as manifest:
        for status in ("begun", "done", "begun"):
            manifest.append(record(status=status))
        manifest.append(record(prompt="y"))
    assert {key: each.status for key, each in read_manifest(path).items()} == {
        ("a-1", "x"): "begun",
        ("a-1", "y"): "done",
    }


def test_a_torn_last_line_is_dropped_and_the_next_record_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    lines = record("a-1").to_line() + record("b-2").to_line()
    for length in range(len(lines)):
        path.write_bytes(lines[:length])
        with ManifestFile(path) as manifest:
            manifest.append(record("c-3"))
        whole = lines[:length].count(b"\n")
        assert [key[0] for key in read_manifest(path)] == [*("a-1", "b-2")[:whole], "c-3"]


def test_a_torn_line_is_read_over_while_another_process_still_writes_it(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(record("a-1").to_line() + record("b-2").to_line()[:50])
    assert list(read_manifest(tmp_path / "m.jsonl")) == [("a-1", "x")]


def test_a_damaged_line_among_good_ones_is_a_case_to_be_redone(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(record("a-1").to_line() + b"\0\0\0\n" + record("b-2").to_line())
    assert [key[0] for key in read_manifest(tmp_path / "m.jsonl")] == ["a-1", "b-2"]


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "m.jsonl") == {}


@pytest.mark.parametrize("content", [b'{"image": "a.png"}\n', b'{"image": "a.png"}', b"hello"])
def test_a_strangers_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(content)
    with pytest.raises(BadInput, match="not that of a pseudolabel run"):
        read_manifest(tmp_path / "manifest.jsonl")


def test_the_final_manifest_is_sorted_whatever_the_order(tmp_path: Path) -> None:
    records = [record("b-2", "y"), record("a-1", "x"), record("b-2", None), record("b-2", "x")]
    for order in (records, records[::-1]):
        write_manifest(tmp_path / "m.jsonl", order)
        assert list(read_manifest(tmp_path / "m.jsonl")) == [("a-1", "x"), ("b-2", None), ("b-2", "x"), ("b-2", "y")]


@pytest.mark.parametrize("loss", ["gone", "replaced"])
def test_a_lost_folder_is_told_at_the_next_record(tmp_path: Path, loss: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with ManifestFile(folder / "manifest.jsonl") as manifest:
        manifest.append(record())
        shutil.rmtree(folder)
        if loss == "replaced":
            folder.mkdir()
            (folder / "manifest.jsonl").touch()
        with pytest.raises(CannotWrite, match="run the same command again"):
            manifest.append(record())
