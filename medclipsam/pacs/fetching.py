"""Brings scans of an archive to this machine when they are read, and away when they are done.

    TEMPORARY/ct-series-5f1d23ab/0000.dcm, 0001.dcm ...    slices of one scan: read as a folder
    TEMPORARY/us-image-9a3e77c0.dcm                        one object: read as a file

The folder is private to the user, and names in it tell nothing. Everything is read by the readers of files, in the
sandbox where that is asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.pacs.archive import Archive
from medclipsam.pacs.scans import FoundObject, FoundSeries, listing_digest, scan_name


class RemoteScan:
    """A scan that lies in an archive.

    Args:
        archive: where it lies.
        series: the one that it is, or is in.
        temporary: an existing private folder.
        objects: those of the scan; None: all of the series, which are asked for when they are needed.
    """

    def __init__(
        self, archive: Archive, series: FoundSeries, temporary: Path, objects: tuple[FoundObject, ...] | None = None
    ) -> None:
        self._archive, self._series, self._objects = archive, series, objects
        self.name = scan_name(series.modality, objects[0].uid if objects else series.uid)
        """The case id."""
        self.path = temporary / (self.name if objects is None else f"{self.name}.dcm")
        """Where it lies once it is fetched."""

    @property
    def place(self) -> str:
        """Where it lies in the archive: STUDY/SERIES, or STUDY/SERIES/OBJECT."""
        alone = [self._objects[0].uid] if self._objects else []
        return "/".join([self._series.study, self._series.uid, *alone])

    def digest(self) -> str:
        """SHA-256 of the identifiers of its objects.

        Raises:
            BadInput, NoServer: see `medclipsam.pacs.archive.Archive`.
        """
        return listing_digest(self._listed())

    def fetch(self) -> Path:
        """Bring it here.

        Raises:
            BadInput, NoServer: see `medclipsam.pacs.archive.Archive`; nothing of the scan is left then.
        """
        self.drop()
        try:
            if self._objects is not None:
                self._archive.fetch(self._objects[0], self.path)
                return self.path
            self.path.mkdir(mode=0o700)
            for number, wanted in enumerate(self._listed()):
                self._archive.fetch(wanted, self.path / f"{number:04d}.dcm")
        except BaseException:
            self.drop()
            raise
        return self.path

    def drop(self) -> None:
        """Take it away from here."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)

    def _listed(self) -> tuple[FoundObject, ...]:
        if self._objects is not None:
            return self._objects
        found = self._archive.objects_of(self._series)
        if self._series.count and len(found) < self._series.count:
            raise BadInput(f"the archive lists {len(found)} of {self._series.count} objects of the series")
        return found


def remote_scans(archive: Archive, series: FoundSeries, temporary: Path) -> list[RemoteScan]:
    """The scans of a series: one of all its slices, or one of each object.

    Raises:
        BadInput, NoServer: see `medclipsam.pacs.archive.Archive`.
    """
    if series.is_stack:
        return [RemoteScan(archive, series, temporary)]
    return [RemoteScan(archive, series, temporary, (each,)) for each in archive.objects_of(series)]
