"""Finds what need not be done again: what earlier runs recorded, if input, settings and files are unchanged.

    manifest.jsonl                 of a whole run, or of shards joined
    manifest.2-of-3.jsonl          of a shard, until all shards are done

A case can stand in several of them; which is the newest is not known, so each is believed only as far as it holds.
While shards are at work, `manifest.jsonl` is still that of the run before.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medclipsam.runs.confidence import judge
from medclipsam.runs.layout import MANIFEST, files_of, outputs_hold
from medclipsam.runs.manifest import READ, Key, Record, read_manifest
from medclipsam.runs.sharing import Shard


def manifest_path(folder: Path, shard: Shard) -> Path:
    """Where a run writes its records."""
    if shard.is_whole:
        return folder / MANIFEST
    return folder / f"manifest.{shard.index}-of-{shard.count}.jsonl"


def shard_manifests(folder: Path) -> list[Path]:
    """Records of shards that are not joined yet."""
    return sorted(folder.glob("manifest.*-of-*.jsonl"))


class Earlier:
    """The records that lie in a folder.

    Args:
        folder: the output folder.
        config_sha256: of the settings of this run.
        least: the confidence that this run asks for.

    Raises:
        BadInput: a manifest that cannot be read, or is not one.
    """

    def __init__(self, folder: Path, config_sha256: str, least: float) -> None:
        self._folder = folder
        self._config = config_sha256
        self._least = least
        self._records: dict[Key, list[Record]] = {}
        for path in (folder / MANIFEST, *shard_manifests(folder)):
            for key, record in read_manifest(path).items():
                self._records.setdefault(key, []).append(record)

    def kept(self, key: Key, input_sha256: str, stem: str) -> Record | None:
        """The record of a case that need not be done again, as its files would be called the same."""
        for record in self._records.get(key, ()):
            if record.stem != stem:
                continue
            same = record.input_sha256 == input_sha256 and record.config_sha256 == self._config
            if same and self._holds(record):
                return record
        return None

    def final(self, key: Key) -> Record | None:
        """The record to keep of a case where this run's shard was not the one that did it."""
        records = [record for record in self._records.get(key, ()) if record.config_sha256 == self._config]
        ended = [record for record in records if record.status not in ("begun", *READ) or self._holds(record)]
        return max(ended, key=lambda record: len(record.outputs), default=None)

    def files(self, key: Key) -> set[str]:
        """All files that earlier runs may have left for a case."""
        return {name for record in self._records.get(key, ()) for name in files_of(self._folder, record)}

    def stale_files(self, final: Iterable[Record]) -> set[str]:
        """All files that earlier runs may have left, and these records do not name."""
        wanted = {name for record in final for name in record.outputs}
        return {name for key in self._records for name in self.files(key)} - wanted

    def _holds(self, record: Record) -> bool:
        """Whether every picture was judged as it would be now, and every file is there as it was written."""
        alike = all(judge(each.confidence, self._least) == each.status for each in record.pictures or (record,))
        return record.status in READ and alike and outputs_hold(self._folder, record.outputs)
