"""What the training data show and the words for it, read from a TOML file: `corpus.toml` here, or one's own.

Every concept has wordings to train with in sentences, synonyms to train with as they are, and five wordings that
training never sees (they measure how much wording moves the answer). `absent` lists structures and findings that no
folder labels, with the body parts where they may still be visible: there the answer is unknown and nothing is learned,
everywhere else it is "not found". Of folders, targets and modalities that the file does not name, nothing is assumed:
no answer but that of their own masks is learned.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Self

from medclipsam.errors import BadInput
from medclipsam.io.tables import listed_path
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.data.tables import read_rows


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A target of the training data and the words for it."""

    target: str
    """Its name in index.csv."""
    wordings: tuple[str, ...]
    """Learned alone and in sentences; from the usual to the rare."""
    synonyms: tuple[str, ...] = ()
    """Learned alone."""
    held_out: tuple[str, ...] = ()
    """Paraphrases that training never sees."""
    visible_in: frozenset[str] = frozenset()
    """Body parts whose images may show it without a label."""

    @property
    def words(self) -> tuple[str, ...]:
        """All that is taught."""
        return (*self.wordings, *self.synonyms)


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What one folder of the data is."""

    body: str | None = None
    """Part of the body that its images show; None: not known."""
    copies: float = 1.0
    """Number of encodings that each of its training images gets on average."""
    focus: float = 1.0
    """How often its images are drawn, beside the square root of their number."""
    turn: float = 1.0
    """Where its encodings stand in the order in which an early stop takes them; below 1 it keeps more of them."""
    single_channel: float = 0.15
    """Probability that a copy shows one colour channel alone."""
    crush: float = 0.15
    """How often a copy is shown in a window so narrow that its darkest and its brightest parts are plain."""
    darkest: float = 0.6
    """Largest share of the pixels that such a window makes black: of a CT for soft tissue all of the lungs."""
    complete: bool = True
    """Whether an empty mask means that the target is not there; False: only that nobody drew it."""


@dataclass(frozen=True, kw_only=True)
class CaptionColumns:
    """A table of images with captions inside the data."""

    table: str
    """Path below the folder of the data; its images count from its own folder."""
    text: tuple[str, ...]
    """Columns whose words, joined, are the caption."""


UNKNOWN_FOLDER = Folder()


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All that a corpus file says."""

    folders: Mapping[str, Folder]
    captions: tuple[CaptionColumns, ...]
    modality_words: Mapping[str, Sequence[str]]
    templates: tuple[str, ...]
    """Sentences with places for {target} and {modality}."""
    concepts: tuple[Concept, ...]
    shared_wordings: Mapping[str, frozenset[str]]
    """Words that name more than one target; where a folder labels none of them, nothing is learned."""
    absent: Mapping[str, frozenset[str]]
    """Structures and findings that no folder labels, and the body parts that may show them all the same."""
    untaught: tuple[str, ...]
    """Names of what no folder labels, beside those under `absent`."""
    nonsense: tuple[str, ...]
    """Texts that name nothing in a medical image; random letters are drawn beside them."""
    digest: str
    """SHA-256 of the file."""

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """A file's corpus; None reads the one that comes with the package.

        Raises:
            BadInput: no such file, or not one of this kind.
        """
        try:
            text = (path or files(__package__).joinpath("corpus.toml")).read_text("utf-8")
            return cls._from_facts(tomllib.loads(text), sha256(text.encode()).hexdigest())
        except (OSError, ValueError, KeyError, TypeError) as error:
            name = path.name if path else "corpus.toml"
            raise BadInput(f"{name} is no corpus ({error})", "write it as medclipsam's own corpus.toml is") from error

    @classmethod
    def _from_facts(cls, facts: Mapping[str, Any], digest: str) -> Self:
        return cls(
            folders={name: Folder(**entry) for name, entry in facts["folders"].items()},
            captions=tuple(
                CaptionColumns(table=entry["table"], text=tuple(entry["text"])) for entry in facts.get("captions", ())
            ),
            modality_words=facts["modality_words"],
            templates=tuple(facts["templates"]),
            concepts=tuple(_concept(entry) for entry in facts["concept"]),
            shared_wordings={word: frozenset(named) for word, named in facts["shared_wordings"].items()},
            absent={name: frozenset(entry["visible_in"]) for entry in facts["absent"] for name in entry["names"]},
            untaught=tuple(facts.get("untaught", ())),
            nonsense=tuple(facts["nonsense"]),
            digest=digest,
        )

    def folder(self, name: str) -> Folder:
        """What a folder is."""
        return self.folders.get(name, UNKNOWN_FOLDER)

    def body(self, image: LabelledImage) -> str | None:
        """Part of the body that an image shows; None where it is not known."""
        return self.folder(image.folder).body

    def concept(self, target: str) -> Concept:
        """The words for a target of index.csv; one that the file does not name has its own name alone."""
        everywhere = frozenset(folder.body for folder in self.folders.values() if folder.body)
        return self._concepts.get(target) or Concept(target=target, wordings=(target,), visible_in=everywhere)

    def words_for(self, modality: str) -> Sequence[str]:
        """Ways to name a modality."""
        return self.modality_words.get(modality) or (modality or "scan",)

    def captioned(self, root: Path) -> list[LabelledImage]:
        """The images with captions under a folder of data; none where their tables are not there."""
        return [image for each in self.captions if (root / each.table).is_file() for image in _captioned(root, each)]

    @cached_property
    def _concepts(self) -> Mapping[str, Concept]:
        return {concept.target: concept for concept in self.concepts}


def _concept(entry: Mapping[str, Any]) -> Concept:
    return Concept(
        target=entry["target"],
        wordings=tuple(entry["wordings"]),
        synonyms=tuple(entry.get("synonyms", ())),
        held_out=tuple(entry["held_out"]),
        visible_in=frozenset(entry["visible_in"]),
    )


def _captioned(root: Path, columns: CaptionColumns) -> list[LabelledImage]:
    folder = PurePosixPath(columns.table).parent
    rows = [row.values for row in read_rows(root / columns.table) if not row.problem]
    return [
        LabelledImage(
            image=str(folder / listed_path(row["image"])),
            folder=folder.parts[0],
            modality=row.get("modality", ""),
            split=row["split"],
            group=row.get("case") or row["image"],
            caption=". ".join(row[name] for name in columns.text if row[name]),
        )
        for row in rows
    ]
