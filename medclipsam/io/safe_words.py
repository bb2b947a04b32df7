"""Which parts of a file's name may be told? What says what is shown, and counts; nothing that could name a patient.

    told        IM_0001, patient004_frame01, benign (12)        known words, and short numbers that follow them
    left out    DOE_JANE, PID-4711, 19700131, 1970-01-31        unknown words and numbers that follow them, dates, long
                                                                numbers, UIDs

No list of names could be complete, so there is a list of harmless words instead.
"""

from __future__ import annotations

import re
import unicodedata

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
