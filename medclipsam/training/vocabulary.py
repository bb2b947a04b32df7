"""Which words name which target, and which words name nothing in an image?

Every concept has wordings to train with and five that training never sees (they measure how much wording moves the
answer). `ABSENT` lists structures and findings that none of the training folders labels, with the body parts where they
may still be visible: there the answer is unknown and nothing is learned, everywhere else it is "not found".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A target of the training data and the words for it."""

    target: str
    """Its name in index.csv."""
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]
    """Paraphrases that training never sees."""
    visible_in: frozenset[str]
    """Body parts whose images may show it without a label."""


BODY: Mapping[str, str] = {
    "breast_us_busi": "breast",
    "brain_mri_lgg": "head",
    "brain_mri_brisc": "head",
    "chest_xray_montgomery": "chest film",
    "chest_xray_shenzhen": "chest film",
    "lung_ct_covid20": "chest",
    "polyp_kvasir": "colon",
    "cardiac_mri_acdc": "heart",
    "fundus_refuge": "eye",
    "fundus_drishti": "eye",
    "liver_ct_lits": "abdomen",
    "skin_ham10000": "skin",
}
"""Which part of the body a training folder shows."""

MODALITY_WORDS: Mapping[str, tuple[str, ...]] = {
    "ultrasound": ("ultrasound", "breast ultrasound", "sonogram", "US image"),
    "mri": ("MRI", "MR image", "magnetic resonance scan", "MRI slice"),
    "x-ray": ("chest X-ray", "radiograph", "chest film", "X-ray image"),
    "ct": ("CT", "CT scan", "CT slice", "computed tomography image"),
    "endoscopy": ("colonoscopy", "endoscopy image", "colonoscopy frame", "endoscopic view"),
    "fundus": ("fundus photograph", "retinal image", "fundus image", "color fundus photo"),
    "dermoscopy": ("dermoscopy", "dermoscopic image", "photo of the skin", "skin image"),
}

TEMPLATES = (
    "{target}",
    "{target}",
    "{target}",
    "{target}",
    "the {target}",
    "{target} in {modality}",
    "{target} on {modality}",
    "a {modality} showing {target}",
    "a medical {modality} showing {target}",
    "segment the {target}",
    "find the {target} in this {modality}",
    "{modality} with {target}",
    "image of {target}",
    "where is the {target}?",
)

CONCEPTS: tuple[Concept, ...] = (
    Concept(
        target="breast tumor",
        wordings=(
            "breast tumor",
            "breast tumour",
            "breast mass",
            "breast lesion",
            "tumor in the breast",
            "breast cancer",
            "malignant breast tumor",
            "benign breast tumor",
            "breast nodule",
            "lump in the breast",
            "fibroadenoma",
            "hypoechoic mass",
            "hypoechoic lesion in the breast",
            "suspicious breast mass",
            "breast carcinoma",
            "solid breast nodule",
            "breast cyst",
            "invasive ductal carcinoma",
            "mammary lesion",
            "breast neoplasm",
            "irregularly shaped, spiculated mass suggestive of a malignant breast tumor",
            "well-defined, round mass suggestive of a benign breast tumor",
        ),
        held_out=(
            "mammary mass",
            "abnormal growth in the breast",
            "tumorous tissue of the breast",
            "focal breast abnormality",
            "mammary tumor",
        ),
        visible_in=frozenset(),
    ),
    Concept(
        target="brain tumor",
        wordings=(
            "brain tumor",
            "brain tumour",
            "brain mass",
            "brain lesion",
            "tumor in the brain",
            "glioma",
            "brain cancer",
            "meningioma",
            "pituitary tumor",
            "intracranial tumor",
            "intracranial mass",
            "cerebral tumor",
            "low-grade glioma",
            "brain neoplasm",
            "enhancing lesion in the brain",
            "glioblastoma",
            "pituitary adenoma",
            "abnormal mass in the brain",
            "intra-axial tumor",
            "extra-axial mass suggestive of a meningioma tumor",
            "irregularly shaped mass suggestive of a brain tumor",
            "FLAIR hyperintense tumor",
        ),
        held_out=(
            "cerebral mass",
            "intracranial neoplasm",
            "tumorous growth inside the skull",
            "cerebral neoplasm",
            "space-occupying lesion of the brain",
        ),
        visible_in=frozenset(),
    ),
    Concept(
        target="lungs",
        wordings=(
            "lungs",
            "lung",
            "both lungs",
            "lung fields",
            "the lungs",
            "left and right lung",
            "lung parenchyma",
            "pulmonary parenchyma",
            "lung area",
            "lung region",
            "bilateral lungs",
            "lung tissue",
            "lung lobes",
            "right lung and left lung",
            "air-filled lungs",
            "pulmonary lobes",
            "lung segmentation",
            "whole lungs",
        ),
        held_out=("pulmonary fields", "the two lungs", "pulmonary tissue", "lung zones", "pair of lungs"),
        visible_in=frozenset({"heart", "abdomen"}),
    ),
    Concept(
        target="covid-19 infection",
        wordings=(
            "covid-19 infection",
            "covid-19 lesion",
            "COVID pneumonia",
            "ground glass opacity",
            "infected lung area",
            "pneumonia",
            "lung infection",
            "consolidation",
            "infected region of the lung",
            "viral pneumonia",
            "pulmonary infection",
            "lung opacity",
            "coronavirus lesion",
            "infiltrate",
            "inflamed lung tissue",
        ),
        held_out=(
            "ground-glass lesion",
            "pulmonary opacity",
            "coronavirus infection",
            "areas of covid pneumonia",
            "infectious infiltrate in the lung",
        ),
        visible_in=frozenset({"chest film", "heart", "abdomen"}),
    ),
    Concept(
        target="polyp",
        wordings=(
            "polyp",
            "colon polyp",
            "colorectal polyp",
            "intestinal polyp",
            "polyps",
            "adenoma",
            "adenomatous polyp",
            "colonic polyp",
            "sessile polyp",
            "pedunculated polyp",
            "bowel polyp",
            "colonoscopy polyp",
            "rectal polyp",
            "protruding lesion in the colon",
            "colonic adenoma",
            "polyp in the large intestine",
            "mucosal lesion",
        ),
        held_out=(
            "polypoid lesion",
            "growth on the bowel wall",
            "polypous growth in the colon",
            "gastrointestinal polyp",
            "large bowel polyp",
        ),
        visible_in=frozenset(),
    ),
    Concept(
        target="left ventricle",
        wordings=(
            "left ventricle",
            "left ventricular cavity",
            "LV",
            "left ventricle cavity",
            "LV cavity",
            "left ventricular blood pool",
            "cavity of the left ventricle",
            "left ventricle of the heart",
            "left heart chamber",
            "LV blood pool",
            "cardiac left ventricle",
        ),
        held_out=(
            "left ventricular chamber",
            "lumen of the left ventricle",
            "the heart's left ventricle",
            "blood in the left ventricle",
            "left ventricular lumen",
        ),
        visible_in=frozenset({"chest", "chest film"}),
    ),
    Concept(
        target="right ventricle",
        wordings=(
            "right ventricle",
            "right ventricular cavity",
            "RV",
            "right ventricle cavity",
            "RV cavity",
            "right ventricular blood pool",
            "cavity of the right ventricle",
            "right ventricle of the heart",
            "right heart chamber",
            "RV blood pool",
            "cardiac right ventricle",
        ),
        held_out=(
            "right ventricular chamber",
            "lumen of the right ventricle",
            "the heart's right ventricle",
            "blood in the right ventricle",
            "right ventricular lumen",
        ),
        visible_in=frozenset({"chest", "chest film"}),
    ),
    Concept(
        target="myocardium",
        wordings=(
            "myocardium",
            "heart muscle",
            "left ventricular myocardium",
            "LV myocardium",
            "myocardial wall",
            "cardiac muscle",
            "myocardial tissue",
            "wall of the left ventricle",
            "left ventricular wall",
            "muscle of the heart",
            "myocardial ring",
        ),
        held_out=(
            "muscular wall of the heart",
            "heart wall",
            "cardiac muscle tissue",
            "LV wall",
            "ventricular myocardium",
        ),
        visible_in=frozenset({"chest", "chest film"}),
    ),
    Concept(
        target="optic disc",
        wordings=(
            "optic disc",
            "optic disk",
            "optic nerve head",
            "papilla",
            "optic papilla",
            "the optic disc of the eye",
            "disc of the optic nerve",
            "optic nerve disc",
            "blind spot of the retina",
            "retinal optic disc",
        ),
        held_out=("head of the optic nerve", "optic nerve papilla", "whole optic disc", "ONH", "nerve head of the eye"),
        visible_in=frozenset(),
    ),
    Concept(
        target="optic cup",
        wordings=(
            "optic cup",
            "cup of the optic disc",
            "optic nerve cup",
            "optic cupping",
            "excavation of the optic disc",
            "physiologic cup",
            "central cup of the optic nerve head",
            "glaucoma cup",
            "optic disc cup",
            "retinal cup",
        ),
        held_out=(
            "cup of the optic nerve head",
            "optic excavation",
            "glaucomatous cup",
            "the cup inside the optic disc",
            "cupping of the disc",
        ),
        visible_in=frozenset(),
    ),
    Concept(
        target="liver",
        wordings=(
            "liver",
            "the liver",
            "hepatic parenchyma",
            "liver tissue",
            "hepatic tissue",
            "liver organ",
            "whole liver",
            "liver parenchyma",
            "enlarged liver",
            "fatty liver",
            "hepatic organ",
            "liver lobe",
            "cirrhotic liver",
        ),
        held_out=("hepatic region", "liver area", "hepar", "hepatomegaly", "entire liver organ"),
        visible_in=frozenset({"chest", "chest film", "heart"}),
    ),
    Concept(
        target="skin lesion",
        wordings=(
            "skin lesion",
            "melanoma",
            "mole",
            "nevus",
            "pigmented lesion",
            "skin cancer",
            "melanocytic nevus",
            "skin tumor",
            "pigmented skin lesion",
            "basal cell carcinoma",
            "skin spot",
            "dermal lesion",
            "birthmark",
            "seborrheic keratosis",
        ),
        held_out=(
            "cutaneous lesion",
            "pigmented mole",
            "dark spot on the skin",
            "lesion of the skin",
            "melanocytic lesion",
        ),
        visible_in=frozenset(),
    ),
)

SHARED_WORDINGS: Mapping[str, frozenset[str]] = {
    "tumor": frozenset({"breast tumor", "brain tumor"}),
    "tumour": frozenset({"breast tumor", "brain tumor"}),
    "mass": frozenset({"breast tumor", "brain tumor"}),
    "cancer": frozenset({"breast tumor", "brain tumor"}),
    "neoplasm": frozenset({"breast tumor", "brain tumor"}),
    "lesion": frozenset({"breast tumor", "brain tumor", "skin lesion", "polyp", "covid-19 infection"}),
    "abnormality": frozenset({"breast tumor", "brain tumor", "skin lesion", "polyp", "covid-19 infection"}),
}
"""Words that name more than one target; where a folder labels none of them, nothing is learned."""

_TRUNK = frozenset({"chest", "abdomen", "heart"})
_CHEST = frozenset({"chest", "chest film", "heart"})

ABSENT: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("kidney", "left kidney", "right kidney", "kidneys", "renal cyst", "kidney tumor"), _TRUNK),
    **dict.fromkeys(("spleen", "pancreas", "stomach", "gallbladder", "adrenal gland", "duodenum"), _TRUNK),
    **dict.fromkeys(("pancreatic tumor", "gallstones", "kidney stone", "liver tumor", "liver metastasis"), _TRUNK),
    **dict.fromkeys(("aorta", "vena cava", "esophagus", "trachea", "spine", "vertebra"), _CHEST | _TRUNK),
    **dict.fromkeys(("heart", "cardiac silhouette", "rib", "ribs", "clavicle", "sternum"), _CHEST | _TRUNK),
    **dict.fromkeys(("pleural effusion", "pneumothorax", "lung nodule", "lung cancer", "atelectasis"), _CHEST | _TRUNK),
    **dict.fromkeys(("left atrium", "right atrium", "pericardium", "papillary muscle", "pulmonary artery"), _CHEST),
    **dict.fromkeys(
        ("bladder", "prostate", "uterus", "ovary", "ovarian cyst", "prostate cancer"), frozenset({"abdomen"})
    ),
    **dict.fromkeys(("femur", "femur fracture", "hip joint", "knee", "meniscus tear", "tibia", "ankle"), frozenset()),
    **dict.fromkeys(("hand bones", "wrist fracture", "elbow", "shoulder joint", "rotator cuff tear"), frozenset()),
    **dict.fromkeys(("tooth", "teeth", "dental caries", "mandible", "jaw"), frozenset({"head"})),
    **dict.fromkeys(
        ("hippocampus", "cerebellum", "white matter lesion", "stroke", "hydrocephalus"), frozenset({"head"})
    ),
    **dict.fromkeys(("brain hemorrhage", "skull", "corpus callosum", "ventricles of the brain"), frozenset({"head"})),
    **dict.fromkeys(("thyroid nodule", "thyroid gland", "lymph node", "carotid artery"), frozenset({"breast", "head"})),
    **dict.fromkeys(("fetal head", "fetus", "placenta", "follicle", "nerve", "muscle tendon"), frozenset({"breast"})),
    **dict.fromkeys(("blood vessels of the retina", "retinal vessels", "macula", "hard exudates"), frozenset({"eye"})),
    **dict.fromkeys(("microaneurysm", "retinal hemorrhage", "drusen", "diabetic retinopathy"), frozenset({"eye"})),
    **dict.fromkeys(("surgical instrument", "forceps", "stomach ulcer", "bleeding"), frozenset({"colon"})),
    **dict.fromkeys(("hair", "acne", "psoriasis", "wound", "burn"), frozenset({"skin"})),
    **dict.fromkeys(("nucleus", "cell nuclei", "red blood cells", "gland in histology", "neuron"), frozenset()),
}
"""Structures and findings that no folder labels, and the body parts that may show them all the same."""

NONSENSE: tuple[str, ...] = (
    "a dog on the beach",
    "a red sports car",
    "pizza with cheese",
    "the stock market",
    "a tall tree",
    "blue sky and clouds",
    "a man riding a bicycle",
    "football game",
    "a cup of coffee",
    "the Eiffel tower",
    "a laptop",
    "summer holiday",
    "a cat",
    "flowers in a vase",
    "airplane",
    "mountain lake",
    "computer keyboard",
    "a wooden table",
    "birthday cake",
    "guitar",
    "walking to the station",
    "an old book",
    "shopping list",
    "rain in the afternoon",
    "a bus stop",
    "kitchen sink",
    "umbrella",
    "elephants",
    "window",
    "street at night",
    "lorem ipsum dolor sit amet",
    "hello world",
    "how are you",
    "nothing",
    "none",
    "abc",
    "123456",
    "???",
    "test",
    "xyz",
    "qwerty",
    "asdf",
    "foo bar",
    "normal",
    "no abnormality",
    "no finding",
    "healthy tissue without lesion",
    "no tumor",
    "background",
    "playing the piano",
    "reading the newspaper",
    "standing in a queue",
    "sleeping on a sofa",
    "tax return",
)
"""Texts that name nothing in a medical image; random letters are drawn beside them."""


def concept(target: str) -> Concept:
    """The concept of a target in index.csv.

    Raises:
        KeyError: the target is not in the vocabulary.
    """
    return {known.target: known for known in CONCEPTS}[target]
