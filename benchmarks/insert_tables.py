"""Put the tables that the benchmarks wrote between their markers in the pages of docs/ and in the model card.

python benchmarks/insert_tables.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLACES = (
    ("accuracy", "accuracy-embedded-test.md", ("docs/accuracy.md", "weights/compact.md")),
    ("sources", "accuracy-sources.md", ("docs/accuracy.md", "weights/compact.md")),
    ("breadth", "accuracy-breadth.md", ("docs/accuracy.md",)),
    ("absent", "accuracy-absent.md", ("docs/accuracy.md",)),
    ("never-taught", "accuracy-never-taught.md", ("docs/accuracy.md",)),
    ("wordings", "accuracy-wordings.md", ("docs/accuracy.md",)),
    ("sides", "accuracy-sides.md", ("docs/accuracy.md",)),
    ("steadiness", "steadiness.md", ("docs/accuracy.md",)),
    ("views-val", "views-val.md", ("docs/accuracy.md",)),
    ("views-test", "views-test.md", ("docs/accuracy.md",)),
    ("ct-windows", "ct-windows.md", ("docs/accuracy.md",)),
    ("bodies", "bodies.md", ("docs/accuracy.md",)),
    ("greys", "greys.md", ("docs/accuracy.md",)),
    ("volumes-val", "volumes-val.md", ("docs/accuracy.md",)),
    ("volumes-test", "volumes-test.md", ("docs/accuracy.md",)),
    ("volumes-test-displays", "volumes-test-displays.md", ("docs/accuracy.md",)),
    ("open-weights", "open-weights.md", ("docs/open-weights.md", "weights/open/compact-open.md")),
    ("open-sources", "open-weights-sources.md", ("weights/open/compact-open.md",)),
    ("m2ib", "m2ib.md", ("docs/speed.md",)),
    ("mc", "mc.md", ("docs/supervised.md",)),
    ("page", "page.md", ("docs/server.md",)),
    ("serve", "serve.md", ("docs/server.md",)),
    ("latency", "latency.md", ("docs/speed.md",)),
    ("latency-volume", "latency-volume.md", ("docs/speed.md",)),
    ("latency-volume-nth", "latency-volume-nth.md", ("docs/speed.md",)),
    ("distil", "distil.md", ("docs/speed.md",)),
    ("latency-folder", "latency-folder.md", ("docs/speed.md",)),
    ("throughput", "throughput.md", ("docs/speed.md",)),
    ("memory", "memory.md", ("docs/speed.md",)),
    ("engines", "engines.md", ("docs/speed.md",)),
    ("streams", "streams.md", ("docs/speed.md",)),
    ("every-nth", "every-nth.md", ("docs/speed.md",)),
    ("volume-time", "volume-time.md", ("docs/speed.md",)),
    ("transfer-syntaxes", "transfer-syntaxes.md", ("docs/dicom.md",)),
    ("refine", "refine.md", ("weights/compact.md",)),
    ("refine-left-out", "refine-left-out.md", ("docs/refine.md",)),
    ("retrieval", "retrieval.md", ("weights/compact.md",)),
    ("held-out", "held-out.md", ("weights/compact.md",)),
    ("confidence", "confidence.md", ("weights/compact.md",)),
    ("mask-readers", "mask-readers.md", ("docs/mask-readers.md",)),
    ("surface-methods", "surface-methods.md", ("docs/metrics.md",)),
    ("measured-phantoms", "measured-phantoms.md", ("docs/metrics.md",)),
    ("vocabulary", "vocabulary.md", ("weights/compact.md",)),
    ("decisions", "decisions.md", ("weights/compact.md",)),
    ("explainers", "choose-explainers.md", ("weights/compact.md",)),
    ("emclip-ablation", "emclip-ablation.md", ("docs/supervised.md",)),
    *(
        (f"supervised-{name}", f"supervised-{name}.md", ("docs/supervised.md",))
        for name in ("main", "prompts", "hospitals", "uncertainty", "shares", "corruptions")
    ),
)


def insert(text: str, marker: str, table: str) -> str:
    """`text` with everything between the two markers replaced.

    Raises:
        ValueError: the markers are not there exactly once.
    """
    pattern = re.compile(rf"(<!-- {marker}:begin -->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}\n{table.strip()}\n\n{found[2]}", text)
    if count != 1:
        raise ValueError(f"{count} places for {marker}")
    return replaced


def main() -> None:
    for marker, result, targets in PLACES:
        source = RESULTS / result
        if source.is_file():
            for target in targets:
                path = ROOT / target
                path.write_text(insert(path.read_text(), marker, source.read_text()))


if __name__ == "__main__":
    main()
