"""Opens a `pseudolabel` folder for review: its items, their images and masks, and every decision at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import RLock

from medclipsam.errors import BadInput
from medclipsam.io.naming import prompt_slug
from medclipsam.review.decisions import Decision, DecisionFile, State, Unchanged, Undo, judged_files
from medclipsam.review.masks import ItemMasks, copy_masks, write_masks
from medclipsam.review.queue import Item, items_of
from medclipsam.runs.cases import Case
from medclipsam.runs.finished import reading_of, scans_of, settings_of
from medclipsam.runs.layout import DOUBTFUL, MANIFEST, OVERLAYS
from medclipsam.runs.manifest import Record, read_manifest
from medclipsam.runs.pictures import Pictures, open_pictures
from medclipsam.runs.reading import input_digest
from medclipsam.types import BoolArray, MedImage

NO_IMAGES = "the scans are not open"
GIVE_IMAGES = "start with --images SCANS to see and correct them"


class ReviewStore:
    """A folder under review; safe to use from several threads and several processes.

    Args:
        folder: what `medclipsam pseudolabel` wrote.
        images: the folder or table of scans that it was given; without it overlays are shown, and nothing corrected.

    Raises:
        BadInput: no such folder, or scans that are not there.
    """

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.folder = folder
        self._settings = settings_of(folder)
        manifest = folder / MANIFEST
        self._records = Unchanged(manifest, lambda: list(read_manifest(manifest).values()))
        records = self._records()
        if not records:
            raise BadInput(f"{folder} holds no {MANIFEST}", "give the output folder of medclipsam pseudolabel")
        self.reading = reading_of(self._settings)
        """How the scans were read."""
        self.has_images = images is not None
        self._cases = {} if images is None else scans_of(folder, images, records[0].prompt or "")
        self.folders = _folders(images, self._cases.values()) if images is not None else ()
        """Folders that hold the scans."""
        self._decisions = DecisionFile(folder)
        self._lock = RLock()
        self._open: tuple[str, Pictures] | None = None

    def items(self) -> list[Item]:
        """All items, the least sure first."""
        return items_of(self._records(), self._decisions.read())

    def item(self, id: str) -> Item:
        """One of them.

        Raises:
            BadInput: there is none of this id.
        """
        for item in self.items():
            if item.id == id:
                return item
        raise BadInput(f"there is no item {id[:80]!r}", "look at the list again")

    def overlay(self, item: Item) -> Path | None:
        """The picture that the run drew of it."""
        name = next((name for name in item.record.outputs if name.startswith(f"{OVERLAYS}/")), None)
        return self.folder / name if name else None

    def scan(self, item: Item) -> Path:
        """The file or folder of its scan.

        Raises:
            BadInput: the scans are not open, or this one is not there or changed since.
        """
        return self._case(item.record).path

    def image_and_mask(self, item: Item, index: int) -> tuple[MedImage, BoolArray]:
        """An image of the item's scan by its number, and the mask that stands on it: a person's, else the run's.

        Raises:
            BadInput: no such image, a scan or a mask that cannot be read.
        """
        with self._lock:
            pictures = self._pictures(item.record)
            if not 0 <= index < len(pictures):
                raise BadInput(f"there is no image {index} of {len(pictures)}", "choose another")
            image = pictures.read(index)
            written = list(item.decision.masks) if item.decision and item.decision.masks else None
            return image, ItemMasks(self.folder, item.record, written).of(image, pictures)

    def decide(self, item: Item, state: State, edits: Mapping[int, BoolArray] | None = None) -> Item:
        """Write a decision, and masks where it needs some; it is on the disk when this returns.

        Args:
            item: as the person saw it.
            state: what was decided.
            edits: for `corrected`: the new masks by the number of their image, (height, width).

        Raises:
            Overtaken: another window decided meanwhile.
            BadInput: masks that cannot be written, or a scan that is not there.
            CannotWrite: the folder cannot be written.
        """
        record, id = item.record, secrets.token_hex(4)
        masks: dict[str, str] = {}
        empty: tuple[str, ...] = ()
        if state == "corrected":
            masks, empty = self._written(id, record, edits or {})
        elif state == "accepted" and any(name.startswith(f"{DOUBTFUL}/") for name in record.outputs):
            masks, empty = copy_masks(self.folder, id, record) or self._written(id, record, {})
        decision = Decision(
            id=id,
            case=record.case,
            prompt=record.prompt or "",
            state=state,
            judged=judged_files(record),
            masks=masks,
            empty=empty,
        )
        self._decisions.append(decision, item.decision.id if item.decision else None)
        return Item(record=record, decision=decision)

    def undo(self, decision: str) -> str | None:
        """Take a decision back; the id of its item, None where the decision did not count any more.

        Raises:
            CannotWrite: the folder cannot be written.
        """
        undone = self._decisions.undo(Undo(id=secrets.token_hex(4), undoes=decision))
        return f"{undone.case}.{prompt_slug(undone.prompt)}" if undone else None

    def _written(
        self, id: str, record: Record, edits: Mapping[int, BoolArray]
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        with self._lock:
            pictures = self._pictures(record)
            return write_masks(
                self.folder,
                id,
                self._case(record),
                record,
                pictures=pictures,
                edits=edits,
                settings=self._settings,
            )

    def _case(self, record: Record) -> Case:
        """The scan, under the names that the run gave to its files."""
        if not self.has_images:
            raise BadInput(NO_IMAGES, GIVE_IMAGES)
        if record.case not in self._cases:
            raise BadInput(f"the scan of {record.spoken} is not there", "give the scans that were labelled")
        case = self._cases[record.case]
        return Case(name=case.name, path=case.path, prompts=case.prompts, file=case.file, stem=record.stem)

    def _pictures(self, record: Record) -> Pictures:
        """The open scan; the last one stays open."""
        if self._open is None or self._open[0] != record.case:
            case = self._case(record)
            if input_digest(case.path) != record.input_sha256:
                raise BadInput(f"{record.spoken}: the scan changed since it was labelled", "run pseudolabel again")
            self._open = record.case, open_pictures(case.path, self.reading, name=case.name)
        return self._open[1]


def _folders(images: Path, cases: Iterable[Case]) -> tuple[Path, ...]:
    """The folder that the scans were given as, or that of their table; and those of scans that lie elsewhere."""
    root = (images if images.is_dir() else images.parent).resolve()
    others = {case.path.resolve().parent for case in cases}
    return root, *sorted(folder for folder in others if not folder.is_relative_to(root))
