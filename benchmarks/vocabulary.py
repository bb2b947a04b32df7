"""Writes the words that the embedded model compares a text with, and shows how well they tell taught from never taught.

    python benchmarks/vocabulary.py --out benchmarks/results

Writes `weights/words.safetensors` and its hash. Then it asks the wordings of taught targets that no list holds (the
held-out ones of the corpus) and, one after the other, each name of an untaught structure with that name taken out of
the list, so that no text meets itself. By the table under "Chosen by" `LEAD` was chosen: there the taught wordings are
asked in the same way, and none that are held out. To be run after each change of the corpus or of what the weights were
taught.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from setting import conditions, spoken
from torch import Tensor

from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.vocabulary import WORDS, Vocabulary, Word, to_bytes
from medclipsam.config import EMBEDDED_CLIPS
from medclipsam.io.atomic import write_atomic
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.vocabulary import with_other_structures, words_of
from medclipsam.weights import find, write_checksums
from medclipsam.weights.targets import known_targets

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LEADS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03)
TEMPLATES = ("{}", "segment the {}", "{} on this scan", "where is the {}?")


def main() -> None:
    arguments = _parser().parse_args()
    corpus, encoder = Corpus.read(), SentenceEncoder(find("minilm").folder)
    words, vectors = with_other_structures(words_of(corpus), encoder.encode)
    write_atomic(WEIGHTS / WORDS, to_bytes(words, vectors))
    write_checksums(WEIGHTS)
    lines = [spoken(conditions(0, {key: str(find(key).sha256) for key in (*EMBEDDED_CLIPS, "minilm")})), ""]
    for key in EMBEDDED_CLIPS:
        taught = {each.target for each in known_targets(key)}
        judge = Judge(words, vectors, taught, encoder)
        lines += _table(key, judge, corpus, taught)
        lines += _choice(judge, corpus, taught) if key == "compact" else []
    print("\n".join(lines))
    if arguments.out:
        write_atomic(arguments.out / "vocabulary.md", "\n".join(lines) + "\n")


class Judge:
    """Asks a vocabulary, with the text itself taken out of it."""

    def __init__(self, words: Sequence[Word], vectors: Tensor, taught: set[str], encoder: SentenceEncoder) -> None:
        self._words, self._vectors, self._taught, self._encode = words, vectors, taught, encoder.encode

    def share(self, names: Sequence[str], template: str, right: Callable[[bool], bool]) -> float:
        """Share of the names whose answer is right."""
        texts = [template.format(name) for name in names]
        answers = [self._answer(*each) for each in zip(names, texts, self._encode(texts), strict=True)]
        return sum(right(answer) for answer in answers) / max(1, len(answers))

    def _answer(self, name: str, text: str, vector: Tensor) -> bool:
        vocabulary, _ = self._without(name)
        return vocabulary.familiar(text, vector).taught

    def leads(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(n,): of each name the lead of the taught words."""
        found = []
        for name, vector in zip(names, self._encode(list(names)), strict=True):
            vocabulary, vectors = self._without(name)
            found.append(vocabulary.lead((vectors @ vector).numpy()))
        return np.array(found)

    def _without(self, name: str) -> tuple[Vocabulary, Tensor]:
        kept = [row for row, word in enumerate(self._words) if word.wording.casefold() != name.casefold()]
        vectors = self._vectors[kept]
        return Vocabulary([self._words[row] for row in kept], vectors, self._taught), vectors


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
    own = [wording for concept in corpus.concepts if concept.target in taught for wording in concept.wordings]
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


def _held_out(corpus: Corpus, taught: set[str]) -> list[str]:
    return [wording for concept in corpus.concepts if concept.target in taught for wording in concept.held_out]


def _never(corpus: Corpus, taught: set[str]) -> list[str]:
    """Names of what is not taught; of targets of the corpus that are not, their names."""
    others = [concept.target for concept in corpus.concepts if concept.target not in taught]
    return [*corpus.untaught, *corpus.absent, *others]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of the tables")
    return parser


if __name__ == "__main__":
    main()
