from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medclipsam.errors import BadInput
from medclipsam.prompt_table import read_prompt_table


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_csv_gives_a_file_all_the_prompts_of_its_rows(tmp_path: Path) -> None:
    table = write(tmp_path, "p.csv", "file,note,prompt\na.png,x,breast tumor\nb.png,,ventricle\nb.png,,atrium\n")
    assert read_prompt_table(table) == {"a.png": ("breast tumor",), "b.png": ("ventricle", "atrium")}


def test_a_csv_from_a_spreadsheet_with_a_mark_and_commas_in_the_prompt_is_read(tmp_path: Path) -> None:
    table = write(tmp_path, "p.csv", '\ufefffile,prompt\r\na.png,"a round, smooth tumor"\r\n')
    assert read_prompt_table(table) == {"a.png": ("a round, smooth tumor",)}


def test_json_gives_one_prompt_or_a_list(tmp_path: Path) -> None:
    table = write(tmp_path, "p.json", json.dumps({"a.png": "Brusttumor, größer", "b.png": ["x", "y"]}))
    assert read_prompt_table(table) == {"a.png": ("Brusttumor, größer",), "b.png": ("x", "y")}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.txt", "a", "read from .csv or .json"),
        ("p.csv", "", "no column file"),
        ("p.csv", "image,prompt\na,b\n", "no column file"),
        ("p.csv", "file,text\na,b\n", "no column prompt"),
        ("p.csv", "file,prompt\n", "holds no prompts"),
        ("p.csv", "file,prompt\na.png,ok\nb.png,\n", "line 3"),
        ("p.csv", "file,prompt\na.png\n", "line 2"),
        ("p.csv", "file,prompt\na.png,x\na.png,x\n", "twice"),
        ("p.csv", b"file,prompt\n\xff\xfe,x\n", "UTF-8"),
        ("p.csv", 'file,prompt\n"' + "x" * 200_000 + '",y\n', "line"),
        ("p.json", "{", "is not JSON"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.json", '["a"]', "one JSON object"),
        ("p.json", "{}", "holds no prompts"),
        ("p.json", '{"a": 3}', "neither a prompt nor a list"),
        ("p.json", '{"a": {"b": "c"}}', "neither a prompt nor a list"),
        ("p.json", '{"a": ["x", 1]}', "neither a prompt nor a list"),
        ("p.json", '{"a": []}', "prompt is empty"),
        ("p.json", '{"a": "  "}', "prompt is empty"),
        ("p.json", '{"": "x"}', "file is missing"),
        ("p.csv", "file,prompt\na.png," + "x" * 5000, "line 2: a prompt of 5,000 characters"),
        ("p.json", '{"a": "x", "a": "x"}', "twice"),
    ],
)
def test_a_table_with_a_fault_is_refused_and_the_fault_named(tmp_path: Path, name: str, content, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_prompt_table(write(tmp_path, name, content))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv cannot be read"):
        read_prompt_table(tmp_path / "none.csv")


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, medclipsam.prompt_table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
