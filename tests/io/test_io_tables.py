"""Is a table read alike, whichever system and spreadsheet wrote it?"""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

import pytest

from medclipsam.errors import BadInput
from medclipsam.io.tables import ListedFiles, csv_rows, listed_path, separator_of

ROWS = [("line 2", "images/b é.png", "breast tumor"), ("line 3", "c.PNG", "a round, smooth tumor")]
LINES = 'file,prompt\r\nimages/b é.png,breast tumor\r\nc.PNG,"a round, smooth tumor"\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-with-mark"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", ", "; "])
def test_encoding_and_separator_of_a_spreadsheet_change_nothing(tmp_path: Path, encoding: str, separator: str) -> None:
    text = (
        LINES.replace("file,", f"file{separator}").replace("png,", f"png{separator}").replace("PNG,", f"PNG{separator}")
    )
    content = ("\ufeff" + text).encode("utf-16-be") if "mark" in encoding else text.encode(encoding)
    (tmp_path / "t.csv").write_bytes(content)
    assert list(csv_rows(tmp_path / "t.csv", ("file", "prompt"))) == ROWS


@pytest.mark.parametrize("header", ["File,Prompt", "FILE,note,prompt", " file , prompt "])
def test_columns_are_found_in_any_case(tmp_path: Path, header: str) -> None:
    row = "a.png,x,liver" if "note" in header else "a.png,liver"
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n")
    assert list(csv_rows(tmp_path / "t.csv", ("file", "prompt"))) == [("line 2", "a.png", "liver")]


def test_a_column_that_is_written_as_it_was_asked_for_comes_first(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("File,file\nno,yes\n")
    assert list(csv_rows(tmp_path / "t.csv", ("file",))) == [("line 2", "yes")]


def test_a_table_in_the_encoding_of_one_country_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(LINES.encode("cp1252"))
    with pytest.raises(BadInput, match="save it as CSV UTF-8"):
        list(csv_rows(tmp_path / "t.csv", ("file",)))


def test_the_separator_is_the_most_frequent_one() -> None:
    assert [separator_of(line) for line in ("file", "a,b;c,d", "a;b", "a\tb\tc,d")] == [",", ",", ";", "\t"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("images\\sub dir\\a.png", "images/sub dir/a.png"),
        (".\\a.png", "a.png"),
        ("./a.png", "a.png"),
        ("C:\\data\\a.png", "C:/data/a.png"),
        (" a.png ", "a.png"),
    ],
)
def test_both_slashes_part_folders(text: str, path: str) -> None:
    assert listed_path(text) == PurePosixPath(path)


def test_a_file_is_found_as_the_system_that_wrote_the_table_would_find_it(tmp_path: Path) -> None:
    for name in ("Images/b é.png", "c.PNG", "odd\\name.png", "twice.png", "TWICE.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = ListedFiles(tmp_path)
    decomposed = unicodedata.normalize("NFD", "images\\B é.png")
    assert files.find(decomposed) == PurePosixPath("Images/b é.png")
    assert files.find("C.png") == PurePosixPath("c.PNG")
    assert files.find("odd\\name.png") == PurePosixPath("odd\\name.png")
    assert files.find("Twice.png") == PurePosixPath("Twice.png")
    assert files.find("gone\\d.png") == PurePosixPath("gone/d.png")
    assert files.find("x" * 5000) == PurePosixPath("x" * 5000)


def test_what_stands_before_the_folder_itself_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "scans" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        (tmp_path / "scans" / name).touch()
    files = ListedFiles(tmp_path / "scans")
    assert files.find("C:\\study\\Scans\\a.png") == PurePosixPath("a.png")
    assert files.find("/home/me/scans/sub/b.png") == PurePosixPath("sub/b.png")
    assert files.find("scans/a.png") == PurePosixPath("a.png")
    assert files.find("other/a.png") == PurePosixPath("other/a.png")
    assert files.find("C:\\scans\\sub\\a.png") == PurePosixPath("C:/scans/sub/a.png")


def test_the_separator_may_be_told_in_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"sep=;\r\nfile;prompt\r\na,b.png;liver, left lobe\r\n")
    assert list(csv_rows(tmp_path / "t.csv", ("file", "prompt"))) == [("line 3", "a,b.png", "liver, left lobe")]


def test_no_table_leads_out_of_its_folder_by_a_name_that_is_only_alike(tmp_path: Path) -> None:
    (tmp_path / "Secret").touch()
    (tmp_path / "in").mkdir()
    assert ListedFiles(tmp_path / "in").find("..\\secret") == PurePosixPath("../secret")
