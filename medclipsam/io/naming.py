"""Names scans, prompts and arrays on disk: short names of safe letters that cannot collide by accident.

    /data/Müller, Ada/IM 0001.dcm   ->  IM-0001-5f1d23ab     harmless stem, hash of the path
    Ada Müller CT 19700131.dcm      ->  CT--93b0-c1fe0a7d    the rest is left out: its hash instead
    breast tumor                    ->  breast-tumor         already plain: nothing is lost, so no hash
    ../../x                         ->  x--7a3c9e01          something is lost: hash of the whole text

No DICOM tag is ever read for a name. What is harmless of the stem stays, because a person must find the scan again;
the rest and the folders above appear in the hash alone. No list of names could be complete, so there is a list of
harmless words:

    told        IM_0001, patient004_frame01, benign (12)        known words, and short numbers that follow them
    left out    DOE_JANE, PID-4711, 19700131, 1970-01-31        unknown words and numbers that follow them, dates, long
                                                                numbers, UIDs
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

LONGEST_STEM = 40
HASH_DIGITS = 8
_SUFFIXES = (
    *(".nii.gz", ".nii", ".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    *(".bmp", ".npy", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".gz", ".zip"),
)
_PLAIN_PROMPT = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:-.*)?", re.IGNORECASE)
LONGEST_NUMBER = 4
"""Digits; longer numbers may be a patient's, or a date."""
_WORDS = """
    image images img im pic picture photo slice slices frame frames page pages volume vol scan scans series stack file
    study exam examination session ses visit time phase echo acquisition acq run rep part block batch item sample
    case cases patient subject subj sub phantom test train training val validation dev demo example examples
    mask masks label labels seg segmentation annotation truth reference ref overlay saliency pred prediction
    ct cbct mr mri us uls ultrasound echo xr cxr xray dx cr dr mg mammo mammogram pet pt nm xa rf oct op fundus
    dermoscopy endoscopy colonoscopy histology photo t1 t2 t1w t2w t1ce t1gd flair dwi adc pd swi tof bold
    axial ax coronal cor sagittal sag transversal oblique lateral lat frontal ap pa cc mlo left right upper lower
    anterior posterior superior inferior pre post contrast native plain enhanced arterial venous portal delayed
    head brain skull neck thyroid chest thorax lung lungs heart cardiac ventricle myocardium aorta breast abdomen
    liver spleen kidney kidneys pancreas bladder gallbladder stomach colon rectum bowel prostate uterus ovary pelvis
    spine vertebra vertebrae hip knee ankle foot shoulder elbow wrist hand bone muscle skin eye retina disc cup vessel
    tumor tumour mass lesion nodule cyst polyp cancer benign malignant normal abnormal healthy infection covid
    pneumonia edema effusion hemorrhage fracture metastasis finding findings positive negative
    acdc brats brisc busi chncxr mcucxr cvc drishti ham isic kits kvasir lgg hgg lidc lits luna msd montgomery refuge
    shenzhen tcga tcia
    raw original orig processed preprocessed resized cropped windowed compressed uncompressed lossless lossy copy new
    old first second third last final whole
    not listed more empty broken damaged missing gone ghost nowhere lonely waiting private anatomical stored eight
    sixteen bit bits grey gray color colour rgb ybr palette absent dcm dicom nii nifti png jpg jpeg jp2k rle
    nrrd mha mhd mgz
"""
WORDS = frozenset(_WORDS.split())
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d([-_. ]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])([-_. ]?)(?:0[1-9]|1[0-2])\2(?:19|20)\d\d)(?!\d)"
)
_UID = re.compile(r"(?<![\d.])\d+(?:\.\d+){4,}")
_LEFT_OUT = " ~ "
_PIECE = re.compile(r"([A-Za-z]*)(\d*)")


def case_name(path: Path, *, root: Path | None = None) -> str:
    """The case id of a file: what is harmless of its stem, and a short hash of where it lies.

    Args:
        path: the file; it need not exist.
        root: the folder of a batch; below it the hash depends on the relative path alone, so that the batch may move.

    Returns:
        At most 49 characters of ASCII letters, digits, `-` and `_`.
    """
    absolute = path.absolute()
    place = absolute.relative_to(root.absolute()) if root is not None else absolute
    return f"{_told(stem_of(path.name))}-{_short_hash(place.as_posix())}"


def prompt_slug(prompt: str) -> str:
    """A file name for a prompt; different prompts have different names.

    Returns:
        The prompt with hyphens where it is short, lower-case ASCII words; else what is left of it, `--` and a hash.
    """
    slug = prompt.replace(" ", "-")
    if _PLAIN_PROMPT.fullmatch(prompt) and len(slug) <= LONGEST_STEM and not _RESERVED.fullmatch(slug):
        return slug
    return f"{_cleaned(prompt).lower() or 'prompt'}--{_short_hash(prompt)}"


def array_name(name: str) -> str:
    """The case id of an array that a Python caller names: the name itself where it is safe, else cleaned and hashed."""
    cleaned = _cleaned(name)
    if name and name == cleaned and not _RESERVED.fullmatch(name):
        return name
    return f"{cleaned or 'array'}--{_short_hash(name)}"


def stem_of(name: str) -> str:
    """A file name without the suffix of its format."""
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def safe_words(stem: str) -> tuple[list[str], bool]:
    """(the pieces of a file's name that may be told, whether those are all)."""
    ascii_stem = unicodedata.normalize("NFKD", stem).encode("ascii", "replace").decode()
    pieces = re.split(r"[^A-Za-z0-9~?]+", _UID.sub(_LEFT_OUT, _DATE.sub(_LEFT_OUT, ascii_stem)))
    told: list[str] = []
    left_out, after_told = False, True
    for piece in filter(None, pieces):
        after_told = _may_be_told(piece, after_told)
        if after_told:
            told.append(piece)
        left_out |= not after_told
    return told, not left_out


def _may_be_told(piece: str, after_told: bool) -> bool:
    """A number is told where what it follows is, or where it comes first."""
    if piece.lower() in WORDS:
        return True
    match = _PIECE.fullmatch(piece)
    if match is None or len(match[2]) > LONGEST_NUMBER:
        return False
    return len(match[1]) == 1 or match[1].lower() in WORDS if match[1] else after_told


def _told(stem: str) -> str:
    """What is harmless of a stem; where that is not all, with a hash that files of the same stem share."""
    words, whole = safe_words(stem)
    told = _cleaned("-".join(words)) or "scan"
    return told if whole else f"{told[: LONGEST_STEM - 6]}--{_short_hash(stem)[:4]}"


def _cleaned(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text)[:LONGEST_STEM].strip("-_")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
