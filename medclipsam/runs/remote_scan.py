"""Segments a scan that lies in an archive: fetched, segmented like a file, its DICOM results stored where wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medclipsam.errors import BadInput
from medclipsam.methods.contract import Segmenter
from medclipsam.pacs.address import Address
from medclipsam.report import Report
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import Progress

if TYPE_CHECKING:
    from medclipsam.pacs.archive import Archive
    from medclipsam.pacs.fetching import RemoteScan
    from medclipsam.pacs.scans import FoundSeries

TEMPORARY = "medclipsam-"
"""What the names of temporary folders begin with."""


@dataclass(frozen=True, kw_only=True)
class RemoteChoice:
    """Which scan of an archive is segmented.

    Raises:
        BadInput: a study that is none.
    """

    address: Address
    study: str
    series: str | None = None
    """A number in the list that a refusal shows, or Series Instance UID; None: the only one."""
    store: bool = False
    """Store DICOM SEG and SR in the archive."""

    def __post_init__(self) -> None:
        from medclipsam.pacs.scans import check_uid  # noqa: PLC0415

        check_uid(self.study, "Study Instance UID")


def segment_remote(
    choice: RemoteChoice, request: ScanRequest, load: Callable[[], Segmenter], tell: Progress
) -> tuple[Report, Path, list[str]]:
    """Segment a scan of an archive.

    Args:
        choice: which one.
        request: what is asked of it; its `scan` and `series` are not used.
        load, tell: see `medclipsam.runs.one_scan.segment_scan`.

    Returns:
        The report, the folder that it lies in, and what became of storing, a line for each object.

    Raises:
        BadInput, CannotWrite: see `segment_scan`; or a scan that the archive does not have or does not give.
        NoServer: an archive that does not answer, or does not let this user in.
        MissingExtra: dicomweb-client is not installed.
    """
    from medclipsam.pacs.archive import Archive  # noqa: PLC0415

    tell("fetching", 0, 0)
    archive = Archive(choice.address)
    with TemporaryDirectory(prefix=TEMPORARY) as temporary:
        scan = _scan(archive, choice, Path(temporary))
        folder = request.folder or Path(f"medclipsam-{scan.name}")
        asked = replace(request, scan=scan.fetch(), name=scan.name, series=None, folder=folder)
        report = segment_scan(asked, load, tell)
    return report, folder, list(_stored(archive, report, folder)) if choice.store else []


def _scan(archive: Archive, choice: RemoteChoice, temporary: Path) -> RemoteScan:
    from medclipsam.pacs.fetching import remote_scans  # noqa: PLC0415

    found = _chosen(archive.series_of(choice.study), choice.series)
    scans = remote_scans(archive, found, temporary)
    if len(scans) > 1:
        raise BadInput(
            f"the series holds {len(scans)} images that are no stack of slices",
            f"segment each: pseudolabel --query series={found.uid}",
        )
    return scans[0]


def _chosen(found: Sequence[FoundSeries], wanted: str | None) -> FoundSeries:
    """By number or identifier, or the only one.

    Raises:
        BadInput: several and none chosen, or none that is called so.
    """
    if wanted is None and len(found) == 1:
        return found[0]
    for number, series in enumerate(found, start=1):
        if wanted in (str(number), series.uid):
            return series
    listed = "; ".join(
        f"{number}: {series.modality}, {series.count} objects, {series.uid}"
        for number, series in enumerate(found, start=1)
    )
    problem = f"the study holds {len(found)} series" if wanted is None else f"the study has no series {wanted[:70]}"
    raise BadInput(problem, f"choose one by --series: {listed}")


def _stored(archive: Archive, report: Report, folder: Path) -> Iterator[str]:
    """Store what is DICOM among the files of a report."""
    results = [result for image in report["images"] for result in image["results"]]
    names = dict.fromkeys(name for result in results for name in result["files"].values() if name.endswith(".dcm"))
    reports = [path.name for name in names if (path := folder / name.replace("_seg.dcm", "_sr.dcm")).exists()]
    for name in dict.fromkeys([*names, *reports]):
        yield f"stored {name}" if archive.store(folder / name) else f"{name} is stored already"
