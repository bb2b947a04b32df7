"""Tables in the manner of MedPix and ROCO, shards, cleaning, and splits that keep a case whole."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.training.data.captions import Columns, Pair, clean_caption, read_captions, split_pairs
from medclipsam.training.data.pairs import open_image

CAPTION = "A chest film with a nodule"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two small images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, grey in (("MPX1009_synpic1.png", 40), ("PMC77_fig-2.jpg", 200)):
        Image.new("L", (12, 9), grey).save(folder / name)
    return folder


def write_csv(path: Path, rows: list[tuple[str, ...]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def png(grey: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (8, 6), grey).save(stream, "png")
    return stream.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("header", "image"),
    [
        (("image", "caption"), "MPX1009_synpic1.png"),
        (("filename", "Caption"), "MPX1009_synpic1.png"),
        (("ID", "Caption"), "PMC77_fig-2"),
        (("name", "caption"), "PMC77_fig-2.jpg"),
        (("file_name", "text"), "somewhere/else/MPX1009_synpic1.png"),
    ],
)
def test_the_usual_columns_are_found(tmp_path, images, header, image):
    table = write_csv(tmp_path / "table.csv", [header, (image, CAPTION)])
    (pair,) = read_captions(table, images).pairs
    assert isinstance(pair.image, Path)
    assert pair.image.is_file()
    assert pair.caption == CAPTION
    assert pair.group in ("MPX1009", "PMC77")


def test_an_image_column_wins_over_an_identifier(tmp_path, images):
    """ROCO's first edition: a running number, then the file."""
    rows = [("id", "name", "caption"), ("ROCO_00002", "PMC77_fig-2.jpg", CAPTION)]
    (pair,) = read_captions(write_csv(tmp_path / "table.csv", rows), images).pairs
    assert pair.image == images / "PMC77_fig-2.jpg"


@pytest.mark.parametrize(("suffix", "delimiter"), [("tsv", "\t"), ("csv", ";"), ("txt", "\t")])
def test_the_delimiter_is_found(tmp_path, images, suffix, delimiter):
    rows = [("image", "caption", "case"), ("MPX1009_synpic1.png", f"{CAPTION}, right", "7")]
    (pair,) = read_captions(write_csv(tmp_path / f"table.{suffix}", rows, delimiter), images).pairs
    assert (pair.caption, pair.group) == (f"{CAPTION}, right", "7")


def test_medpix_2_nests_its_captions(tmp_path, images):
    row = {
        "Type": "CT",
        "U_id": "MPX1009",
        "image": "MPX1009_synpic1",
        "Description": {"Modality": "CT", "Caption": CAPTION, "Plane": "Axial"},
    }
    table = tmp_path / "descriptions.jsonl"
    table.write_text(json.dumps(row) + "\n\nnot json\n[1]\n" + "[" * 100_000 + "\n")
    captions = read_captions(table, images)
    assert [(pair.group, pair.caption) for pair in captions.pairs] == [("MPX1009", CAPTION)]
    assert [(skip.row.split(":")[1], skip.reason) for skip in captions.skipped] == [
        ("3", "not JSON"),
        ("4", "not a JSON object"),
        ("5", "not JSON"),
    ]


def test_columns_can_be_named(tmp_path, images):
    rows = [("picture", "words", "person"), ("MPX1009_synpic1.png", CAPTION, "anna")]
    table = write_csv(tmp_path / "table.csv", rows)
    with pytest.raises(BadInput, match="no image column"):
        read_captions(table, images)
    columns = Columns(image="picture", caption="words", group="person")
    assert read_captions(table, images, columns).pairs[0].group == "anna"
    with pytest.raises(BadInput, match="'patient'"):
        read_captions(table, images, Columns(image="picture", caption="words", group="patient"))


def test_bad_rows_are_recorded_with_their_place_and_skipped(tmp_path, images):
    (images / "empty.png").touch()
    rows = [
        ("image", "caption"),
        ("MPX1009_synpic1.png", CAPTION),
        ("absent.png", CAPTION),
        ("", CAPTION),
        ("PMC77_fig-2.jpg", ""),
        ("PMC77_fig-2.jpg", "nodule 3 cm *****************"),
        ("PMC77_fig-2.jpg", CAPTION, "too", "many"),
        ("empty.png", CAPTION),
    ]
    captions = read_captions(write_csv(tmp_path / "table.csv", rows), images)
    assert len(captions.pairs) == 1
    assert [(skip.row, skip.reason) for skip in captions.skipped] == [
        ("table.csv:3", "image not found"),
        ("table.csv:4", "no image"),
        ("table.csv:5", "no caption"),
        ("table.csv:6", "caption shorter than 20 characters"),
        ("table.csv:7", "more fields than columns"),
        ("table.csv:8", "image not found"),
    ]


def test_a_name_cannot_lead_out_of_the_folder(tmp_path, images):
    Image.new("L", (9, 9)).save(tmp_path / "private.png")
    rows = [("image", "caption"), ("../private.png", CAPTION), (str(tmp_path / "private.png"), CAPTION)]
    with pytest.raises(BadInput, match="2 of 2 rows: image not found"):
        read_captions(write_csv(tmp_path / "table.csv", rows), images)


def test_the_tables_own_folder_is_where_images_are_looked_for(tmp_path, images):
    rows = [("image", "caption"), ("images/MPX1009_synpic1.png", CAPTION)]
    assert len(read_captions(write_csv(tmp_path / "table.csv", rows)).pairs) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "no table"),
        ("empty.csv", b"", "no rows"),
        ("header.csv", b"image,caption\n", "no rows"),
        ("lines.jsonl", b"one\ntwo\n", "2 of 2 rows: not JSON"),
        ("table.xlsx", b"PK", "cannot be read"),
        ("broken.tar", b"no tar at all", "plain tar"),
        ("noise.csv", bytes(range(14, 256)) + b"\n1", "no image column"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_captions(tmp_path / name)


def test_a_folder_of_images_that_is_absent_is_named(tmp_path):
    with pytest.raises(BadInput, match="--images"):
        read_captions(write_csv(tmp_path / "t.csv", [("image", "caption")]), tmp_path / "nowhere")


def test_shards_hold_images_with_text_or_json(tmp_path):
    first = {"a/1.png": png(11), "a/1.txt": CAPTION.encode(), "a/2.png": png(22), "a/2.txt": b"short"}
    details = {"caption": f"{CAPTION} again", "case": "c9", "split": "valid"}
    second = {"3.json": json.dumps(details).encode(), "3.png": png(33), "4.txt": CAPTION.encode()}
    write_tar(tmp_path / "00.tar", first)
    write_tar(tmp_path / "01.tar", second)
    captions = read_captions(tmp_path)
    assert [pair.caption for pair in captions.pairs] == [CAPTION, f"{CAPTION} again"]
    assert [(pair.group, pair.split) for pair in captions.pairs[1:]] == [("c9", "val")]
    assert [(skip.row, skip.reason) for skip in captions.skipped] == [
        ("00.tar:a/2", "caption shorter than 20 characters"),
        ("01.tar:4", "no image"),
    ]

    assert [open_image(pair.image).size for pair in captions.pairs] == [(6, 8), (6, 8)]


def test_shards_that_webdataset_writes_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "shard-000000.tar")) as shard:
        for number in range(3):
            shard.write({"__key__": f"case{number}", "png": png(number), "txt": f"{CAPTION} number {number}"})
    pairs = read_captions(tmp_path / "shard-000000.tar").pairs
    assert [pair.caption[-1] for pair in pairs] == ["0", "1", "2"]
    assert open_image(pairs[2].image).size == (6, 8)


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"no \.tar shards"):
        read_captions(tmp_path)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  A\tmass \r\n in the\u00a0liver.  ", "A mass in the liver."),
        ("• “Luftsichel” sign ** (T1-weighted) #3", '"Luftsichel" sign (T1-weighted) 3'),
        ("<p>3&nbsp;cm mass &lt; 5 mm</p>", "3 cm mass < 5 mm"),
        ("edema, 5 % ± 2 — Crohn\u2019s; 2\u00d73 cm²", "edema, 5 % ± 2 - Crohn's; 2x3 cm2"),
        ("snake_case\x00\u200b~|", "snake case"),
        ("Œdème pulmonaire aigu", "Œdème pulmonaire aigu"),
        ("", ""),
    ],
)
def test_a_caption_loses_what_is_no_language(raw, clean):
    assert clean_caption(raw) == clean


@given(st.text())
def test_cleaning_is_final_and_leaves_single_spaces(text):
    once = clean_caption(text)
    assert once == once.strip()
    assert "  " not in once
    assert not any(character in "\n\t\r\x00_#*|" for character in once)


def pairs_of(groups: list[int], splits: list[str] | None = None) -> list[Pair]:
    stated = splits or [""] * len(groups)
    return [
        Pair(image=Path(f"{number}.png"), caption=CAPTION, group=f"case{group}", split=split)
        for number, (group, split) in enumerate(zip(groups, stated, strict=True))
    ]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.01, 0.6), st.integers(0, 99))
def test_no_case_straddles_splits_and_no_pair_is_lost(groups, share, seed):
    if len(set(groups)) < 2:
        return
    pairs = pairs_of(groups)
    splits = split_pairs(pairs, val_share=share, seed=seed)
    assert not {pair.group for pair in splits.train} & {pair.group for pair in splits.val}
    assert sorted(map(str, splits.train + splits.val)) == sorted(map(str, pairs))
    cases = len(set(groups))
    assert len({pair.group for pair in splits.val}) == max(1, round(share * cases))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["train", "val", "test", ""])), min_size=3, max_size=40))
def test_the_tables_splits_hold_and_a_straddling_case_is_held_out(rows):
    groups, stated = [group for group, _ in rows], [split for _, split in rows]
    if not any(stated):
        return
    order = ["", "train", "val", "test"]
    strictest = {f"case{g}": max((s for h, s in rows if h == g), key=order.index) or "train" for g in groups}
    if "train" not in strictest.values():
        with pytest.raises(BadInput, match="left to train"):
            split_pairs(pairs_of(groups, stated))
        return
    splits = split_pairs(pairs_of(groups, stated))
    for name in ("train", "val", "test"):
        assert all(strictest[pair.group] == name for pair in getattr(splits, name))


def test_the_order_of_rows_does_not_change_the_split():
    pairs = pairs_of(list(range(20)))
    assert set(split_pairs(pairs).val) == set(split_pairs(pairs[::-1]).val)
    assert set(split_pairs(pairs, seed=1).val) != set(split_pairs(pairs).val)


def test_no_share_keeps_everything_for_training_and_a_wrong_one_is_refused():
    pairs = pairs_of([1, 2, 3])
    assert split_pairs(pairs, val_share=0).val == ()
    with pytest.raises(BadInput, match="share"):
        split_pairs(pairs, val_share=1.0)


def test_the_real_medpix_table_is_read_whole(shared_data):
    captions = read_captions(shared_data / "captions_medpix" / "captions.csv")
    assert len(captions.pairs) + len(captions.skipped) == 2050
    assert {skip.reason for skip in captions.skipped} == {"caption shorter than 20 characters"}
    splits = split_pairs(captions.pairs)
    groups = [{pair.group for pair in part} for part in (splits.train, splits.val, splits.test)]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert len(splits.train) > len(splits.val) > 100
    assert all(len(pair.caption) >= 20 for pair in captions.pairs)
