"""Is a folder one run's at a time, and nobody's after a crash?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medclipsam.errors import CannotWrite
from medclipsam.runs import Shard, sharing
from medclipsam.runs.sharing import alone, claimed

WHOLE = Shard()
HOLD = """
import sys
from pathlib import Path
from medclipsam.runs.sharing import claimed
from medclipsam.runs.sharing import Shard
with claimed(Path(sys.argv[1]), Shard.parse(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "JOINING_S", 0.05)


@contextmanager
def another_process(folder: Path, shard: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(folder), shard]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    with another_process(tmp_path, "1/1") as holder:
        with pytest.raises(CannotWrite, match="another run is writing"), claimed(tmp_path, WHOLE):
            pytest.fail("two runs at once")
        holder.kill()
        holder.wait()
        with claimed(tmp_path, WHOLE):
            assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("first", "second"), [("1/1", "1/1"), ("1/1", "2/3"), ("2/3", "1/1"), ("2/3", "2/3")], ids=lambda text: text
)
def test_a_whole_run_and_equal_shards_exclude_each_other(tmp_path: Path, first: str, second: str) -> None:
    busy = pytest.raises(CannotWrite, match="another run is writing")
    with claimed(tmp_path, Shard.parse(first)), busy, claimed(tmp_path, Shard.parse(second)):
        pytest.fail("two runs at once")
    with claimed(tmp_path, Shard.parse(second)):
        pass


def test_different_shards_work_together_and_the_last_one_is_alone(tmp_path: Path) -> None:
    with claimed(tmp_path, Shard(1, 2)):
        with claimed(tmp_path, Shard(2, 2)), alone(tmp_path, Shard(2, 2)) as is_alone:
            assert not is_alone
        with alone(tmp_path, Shard(1, 2)) as is_alone:
            assert is_alone
            with pytest.raises(CannotWrite, match="another run"), claimed(tmp_path, Shard(2, 2)):
                pytest.fail("a shard began while the results were joined")


def test_an_error_lets_the_folder_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path, WHOLE):
        raise ZeroDivisionError
    with claimed(tmp_path, WHOLE):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="cannot be locked"), claimed(tmp_path / "file" / "out", WHOLE):
        pytest.fail("a folder below a file")
