"""Writes the words that the embedded model compares a text with, and shows how well they tell taught from never taught.

    python benchmarks/vocabulary.py --data ../shared/data --out benchmarks/results

Writes `weights/words.safetensors`, lets the weights of the preset `embedded` know every word of the corpus, and writes
the hashes. With `--data` it sets their thresholds again, as training does, on up to eight validation images of each
folder: what a target means moves a little with its words. Then it asks the wordings of taught targets that no list
holds (the held-out ones of the corpus) and, one after the other, each name of an untaught structure with that name
taken out of the list, so that no text meets itself; and it tells how often a taught wording is read as another target
by weights that do not know it. By tables as those under "Chosen by" `LEAD` was chosen, of fewer words: there the taught
wordings are asked in the same way, and none that are held out. To be run after each change of the corpus or of what the
weights were taught.
"""

from __future__ import annotations

import argparse
import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from setting import conditions, spoken
from torch import Tensor

from medclipsam.backbones.compact import CompactTower
from medclipsam.backbones.compact_clip import KnownTexts, load_tower
from medclipsam.backbones.compact_clip import to_bytes as tower_to_bytes
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.vocabulary import WORDS, Vocabulary, Word, to_bytes
from medclipsam.config import EMBEDDED_CLIPS
from medclipsam.io.atomic import write_atomic
from medclipsam.sides import said_side
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.calibration import calibrate, judge
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encoder, Encodings
from medclipsam.training.embedded.material import read_images
from medclipsam.training.embedded.texts import build_bank
from medclipsam.training.embedded.variants import Variant
from medclipsam.training.embedded.vocabulary import with_other_structures, words_of
from medclipsam.training.recipes import EmbeddedRecipe
from medclipsam.weights import find, lookup, write_checksums
from medclipsam.weights.targets import known_targets

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LEADS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04)
OTHER_SIDES = (0.0, 0.1, 0.2, 0.4, 0.8)
TENTHS = 10
TEMPLATES = ("{}", "segment the {}", "{} on this scan", "where is the {}?")


def main() -> None:
    arguments = _parser().parse_args()
    corpus, encoder = Corpus.read(), SentenceEncoder(find("minilm").folder)
    words, vectors = with_other_structures(words_of(corpus), encoder.encode)
    write_atomic(WEIGHTS / WORDS, to_bytes(words, vectors))
    file, known = WEIGHTS / lookup("compact").file, Known.of(corpus, encoder)
    tower = load_tower(file)
    known.teach(tower)
    told = thresholds(tower, known, corpus, encoder, arguments) if arguments.data else "as they were"
    write_atomic(file, tower_to_bytes(tower))
    write_checksums(WEIGHTS)
    lines = [spoken(conditions(0, {key: str(find(key).sha256) for key in (*EMBEDDED_CLIPS, "minilm")})), ""]
    lines += [f"Thresholds of `compact`, on validation images: {told}.", ""]
    encode = Encoded(encoder)
    for key in EMBEDDED_CLIPS:
        taught = {each.target for each in known_targets(key)}
        unlisted = Judge(words, vectors, taught, encode)
        lines += [*_table(key, unlisted, corpus, taught), *_choice(unlisted, corpus, taught)]
    lines += _misread_table(tower, known)
    print("\n".join(lines))
    if arguments.out:
        write_atomic(arguments.out / "vocabulary.md", "\n".join(lines) + "\n")


@dataclass(frozen=True)
class Known:
    """What the weights of the preset `embedded` are to know."""

    names: Sequence[str]
    """The targets."""
    sentences: Tensor
    """(n, 384)."""
    named: Tensor
    sides: Tensor
    """(n,) both, see `CompactTower.know`."""

    @classmethod
    def of(cls, corpus: Corpus, encoder: SentenceEncoder) -> Self:
        """Every word of the corpus for what they were taught."""
        taught = {each.target: "" for each in known_targets("compact")}
        bank = build_bank(corpus, taught, np.random.default_rng(0), frozenset())
        sentences = encoder.encode([bank.texts[index].sentence for index in bank.kept])
        names = sorted(bank.by_target)
        return cls(names, sentences, bank.named(names)[bank.kept], bank.sides[bank.kept])

    def teach(self, tower: CompactTower, rows: Tensor | slice = slice(None)) -> None:
        """Let a tower know these rows of it, and nothing else."""
        tower.know(self.sentences[rows], self.named[rows], self.sides[rows])


def thresholds(
    tower: CompactTower, known: Known, corpus: Corpus, encoder: SentenceEncoder, chosen: argparse.Namespace
) -> str:
    """Set the thresholds of a tower again, and say how."""
    names = list(known.names)
    judged = judge(tower, validation(chosen, corpus, tower), names, encoder.encode(names), corpus)
    figures = calibrate(tower, list(judged))
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())


def validation(chosen: argparse.Namespace, corpus: Corpus, tower: CompactTower) -> Encodings:
    """Up to eight validation images of each folder, encoded."""
    images = read_images(chosen.data, corpus, EmbeddedRecipe(), validation=8)["val"]
    encoder = Encoder(chosen.data, FeatureCache(chosen.features), corpus.folder, torch.device("cpu"))
    return encoder.encode([Variant(image=image) for image in images], Axes.of(tower))[0]


class Encoded:
    """Sentence vectors (n, 384) of texts, each encoded once: both weights are asked the same."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        if missing := list(dict.fromkeys(text for text in texts if text not in self._known)):
            self._known |= dict(zip(missing, self._encoder.encode(missing), strict=True))
        return torch.stack([self._known[text] for text in texts])


class Judge:
    """Asks a vocabulary as if the text itself were not in it."""

    def __init__(self, words: Sequence[Word], vectors: Tensor, taught: set[str], encode: Encoded) -> None:
        self._vocabulary = Vocabulary(words, vectors, taught)
        self._vectors, self._encode = vectors, encode
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, word in enumerate(words):
            self._rows[word.wording.casefold()].append(row)

    def share(self, names: Sequence[str], template: str, right: Callable[[bool], bool]) -> float:
        """Share of the names whose answer is right."""
        texts = [template.format(name) for name in names]
        answers = map(self._vocabulary.judge, texts, self._nearness(names, texts))
        return sum(right(answer.taught) for answer in answers) / max(1, len(names))

    def leads(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(n,): of each name the lead of the taught words."""
        return np.array([self._vocabulary.lead(row) for row in self._nearness(names, names)])

    def _nearness(self, names: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, words): cosines, the lowest of all with a text's own name."""
        found = (self._encode(texts) @ self._vectors.T).numpy()
        for number, name in enumerate(names):
            found[number, self._rows[name.casefold()]] = -1
        return found


def _table(name: str, judge: Judge, corpus: Corpus, taught: set[str]) -> list[str]:
    known, never = _held_out(corpus, taught), _never(corpus, taught)
    lines = [
        f"Of the weights `{name}` ({len(taught)} targets):",
        "",
        "| text | taught, in unseen words: called never taught | n | never taught, and in no list: called so | n |",
        "|---|---|---|---|---|",
    ]
    for template in TEMPLATES:
        lost = judge.share(known, template, lambda answer: not answer)
        found = judge.share(never, template, lambda answer: not answer)
        lines.append(f"| {template.format('NAME')} | {lost:.1%} | {len(known)} | {found:.1%} | {len(never)} |")
    return [*lines, ""]


def _choice(judge: Judge, corpus: Corpus, taught: set[str]) -> list[str]:
    own = [word for concept in corpus.concepts if concept.target in taught for word in concept.words]
    lost, told = judge.leads(own), judge.leads(_never(corpus, taught))
    lines = [
        "Chosen by:",
        "",
        "| lead | taught wordings, each left out: never taught | n | other names, each left out: never taught | n |",
    ]
    lines += ["|---|---|---|---|---|"]
    for lead in LEADS:
        called = " | ".join(f"{(leads < lead).mean():.1%} | {len(leads)}" for leads in (lost, told))
        lines.append(f"| {lead:.3f} | {called} |")
    return [*lines, ""]


def _misread_table(tower: CompactTower, known: Known) -> list[str]:
    """How many taught wordings are read as another target, a tenth left out in turn, by the weight of the other
    side."""
    tenth = torch.randint(0, TENTHS, (len(known.named),), generator=torch.Generator().manual_seed(0))
    parts = [_misread(copy.deepcopy(tower), known, tenth == left_out) for left_out in range(TENTHS)]
    own = torch.cat([known.named[(tenth == left_out) & (known.named >= 0)] for left_out in range(TENTHS)])
    sided = torch.tensor([said_side(name) is not None for name in known.names])[own]
    lines = [
        "Read as another target, by `embedded`; taught wordings, a tenth left out in turn:",
        "",
        f"| weight of the other side | all {len(own)} | the {int(sided.sum())} of targets named with a side |",
        "|---|---|---|",
    ]
    for number, weight in enumerate(OTHER_SIDES):
        wrong = torch.cat([part[number] for part in parts]).double()
        lines.append(f"| {weight:.1f} | {wrong.mean():.1%} | {wrong[sided].mean():.1%} |")
    return [*lines, ""]


def _misread(tower: CompactTower, known: Known, left_out: Tensor) -> list[Tensor]:
    """(n,) for each weight of the other side: which of the wordings left out a tower reads as another target."""
    known.teach(tower, ~left_out)
    own, named = left_out & (known.named >= 0), known.named[~left_out]
    readers = [KnownTexts(tower, other_side=weight) for weight in OTHER_SIDES]
    return [_nearest(each, each.read(known.sentences[own]), named) != known.named[own] for each in readers]


def _nearest(known: KnownTexts, texts: Tensor, named: Tensor) -> Tensor:
    """(n,): the number of the target whose meaning is nearest to each text (n, embedding)."""
    numbers, rows = named[named >= 0].unique(), torch.arange(len(named))
    first = torch.stack([rows[named == number][0] for number in numbers])
    return numbers[(texts @ known.values[first].T).argmax(dim=-1)]


def _held_out(corpus: Corpus, taught: set[str]) -> list[str]:
    return [wording for concept in corpus.concepts if concept.target in taught for wording in concept.held_out]


def _never(corpus: Corpus, taught: set[str]) -> list[str]:
    """Names of what is not taught; of targets of the corpus that are not, their names."""
    others = [concept.target for concept in corpus.concepts if concept.target not in taught]
    return [*corpus.untaught, *corpus.absent, *others]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="images with masks by which the thresholds are set again")
    parser.add_argument("--features", type=Path, default=Path("runs/features"), help="keeps their encodings")
    parser.add_argument("--out", type=Path, help="folder of the tables")
    return parser


if __name__ == "__main__":
    main()
