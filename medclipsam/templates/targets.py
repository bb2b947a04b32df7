"""What do the known targets look like? Findings in our own words, for the sentences of `medclipsam.templates`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Target:
    """What can be asked for in one kind of image."""

    name: str
    """P0."""
    scan: str
    """What a caption calls the image."""
    region: str
    """The part of the body; names from other regions must not be found here."""
    findings: Sequence[str]
    """What P2 sentences describe: true of any such target."""
    subclasses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """P1 to what its P3 sentences describe: true of one sub-class alone."""


TARGETS: Mapping[str, Target] = {
    "breast tumor": Target(
        name="breast tumor",
        scan="breast ultrasound",
        region="breast",
        findings=(
            "a dark, solid lesion with uneven borders suggestive of a breast tumor",
            "a focal hypoechoic mass suggestive of a breast tumor",
            "a lump that stands out from the fibroglandular tissue, suggestive of a breast tumor",
            "a nodule that interrupts the layers of the breast, suggestive of a breast tumor",
            "a mass with an echo pattern unlike its surroundings, suggestive of a breast tumor",
        ),
        subclasses={
            "benign breast tumor": (
                "an oval, smoothly bordered nodule suggestive of a benign breast tumor",
                "a mass wider than tall with a thin capsule, suggestive of a benign breast tumor",
                "a homogeneous lesion with clear margins suggestive of a benign breast tumor",
                "a gently lobulated nodule parallel to the skin, suggestive of a benign breast tumor",
                "a sharply bounded mass with bright echoes behind it, suggestive of a benign breast tumor",
            ),
            "malignant breast tumor": (
                "a jagged, star-shaped mass suggestive of a malignant breast tumor",
                "a mass taller than wide that casts a shadow, suggestive of a malignant breast tumor",
                "a dark lesion with blurred, angular margins suggestive of a malignant breast tumor",
                "an uneven mass that distorts the tissue around it, suggestive of a malignant breast tumor",
                "a lesion with tiny bright calcifications suggestive of a malignant breast tumor",
            ),
        },
    ),
    "brain tumor": Target(
        name="brain tumor",
        scan="brain MRI scan",
        region="head",
        findings=(
            "an abnormal bright area in the brain suggestive of a brain tumor",
            "a space-occupying lesion suggestive of a brain tumor",
            "a mass with surrounding swelling suggestive of a brain tumor",
            "an area of abnormal contrast enhancement suggestive of a brain tumor",
            "a lesion that pushes the normal brain aside, suggestive of a brain tumor",
        ),
        subclasses={
            "glioma": (
                "a mass inside the white matter with ragged borders, suggestive of a glioma",
                "a lesion that infiltrates one hemisphere, suggestive of a glioma",
                "a ring of enhancement around a dark centre, suggestive of a glioma",
                "a patchy lesion with wide swelling, suggestive of a glioma",
                "a mass within the brain that crosses the midline, suggestive of a glioma",
            ),
            "meningioma": (
                "a round mass attached to the lining of the brain, suggestive of a meningioma",
                "an evenly enhancing mass with a dural tail, suggestive of a meningioma",
                "a smooth mass that presses on the brain from outside, suggestive of a meningioma",
                "a broad-based mass along the falx, suggestive of a meningioma",
                "a clearly bounded mass under the skull, suggestive of a meningioma",
            ),
            "pituitary tumor": (
                "a mass in the sella at the base of the brain, suggestive of a pituitary tumor",
                "an enlarged pituitary gland suggestive of a pituitary tumor",
                "a small nodule below the optic chiasm, suggestive of a pituitary tumor",
                "a midline mass above the sphenoid sinus, suggestive of a pituitary tumor",
                "a lesion that widens the sella, suggestive of a pituitary tumor",
            ),
        },
    ),
    "lungs on x-ray": Target(
        name="lungs",
        scan="chest X-ray",
        region="chest",
        findings=(
            "the right and the left lung",
            "two dark lung fields on both sides of the heart",
            "air-filled lungs between the ribs and the diaphragm",
            "both lung fields from the apex to the base",
            "lung tissue with its branching vessels",
        ),
        subclasses={
            "lungs with covid-19": (
                "hazy patches at the edges of both lungs, suggestive of covid-19",
                "ground-glass shadows in the lower lung fields, suggestive of covid-19",
                "scattered opacities in both lungs, suggestive of covid-19",
                "faint peripheral consolidation of the lungs, suggestive of covid-19",
                "lungs clouded on both sides, suggestive of covid-19",
            ),
            "lungs with viral pneumonia": (
                "streaky shadows spreading from the hila, suggestive of viral pneumonia",
                "a net of fine lines in both lungs, suggestive of viral pneumonia",
                "diffuse haze over the lung fields, suggestive of viral pneumonia",
                "thickened bronchial walls in the lungs, suggestive of viral pneumonia",
                "overinflated lungs with patchy shadows, suggestive of viral pneumonia",
            ),
            "lungs with opacity": (
                "a white area that hides part of a lung",
                "a dense shadow in one lung field",
                "a lung that is partly opaque",
                "a cloudy region over the lung markings",
                "a blurred white patch in the lung",
            ),
            "normal lungs": (
                "clear lungs without any shadow",
                "healthy lungs with sharp borders",
                "evenly dark lung fields and sharp angles at the diaphragm",
                "lungs with ordinary vessel markings",
                "two normally expanded lungs",
            ),
        },
    ),
    "lungs on ct": Target(
        name="lungs",
        scan="chest CT scan",
        region="chest",
        findings=(
            "the right and the left lung in cross-section",
            "dark, air-filled lungs on both sides of the mediastinum",
            "lung tissue inside the rib cage",
            "both lungs with their branching vessels",
            "the lung lobes around the heart and the great vessels",
        ),
    ),
    "covid-19 infection": Target(
        name="covid-19 infection",
        scan="chest CT scan",
        region="chest",
        findings=(
            "ground-glass areas in the lungs suggestive of a covid-19 infection",
            "hazy grey patches along the pleura suggestive of a covid-19 infection",
            "consolidated lung tissue suggestive of a covid-19 infection",
            "a crazy-paving pattern in the lungs suggestive of a covid-19 infection",
            "scattered cloudy regions in both lungs suggestive of a covid-19 infection",
        ),
    ),
    "polyp": Target(
        name="polyp",
        scan="colonoscopy image",
        region="colon",
        findings=(
            "a rounded growth on the bowel wall suggestive of a polyp",
            "a raised bump of the mucosa suggestive of a polyp",
            "a protruding, reddish lesion suggestive of a polyp",
            "a growth on a stalk suggestive of a polyp",
            "a smooth elevation in the colon suggestive of a polyp",
        ),
    ),
    "skin lesion": Target(
        name="skin lesion",
        scan="dermoscopy image",
        region="skin",
        findings=(
            "a pigmented spot suggestive of a skin lesion",
            "a brown patch with uneven colour suggestive of a skin lesion",
            "a dark, bounded area on the skin suggestive of a skin lesion",
            "a mole-like mark suggestive of a skin lesion",
            "a discoloured area with an irregular edge suggestive of a skin lesion",
        ),
    ),
    "optic disc": Target(
        name="optic disc",
        scan="fundus photograph",
        region="eye",
        findings=(
            "the bright round optic disc",
            "the optic disc where the retinal vessels meet",
            "the pale oval head of the optic nerve",
            "the yellowish disc at which the vessels leave the eye",
            "the optic disc with its rim",
        ),
    ),
    "optic cup": Target(
        name="optic cup",
        scan="fundus photograph",
        region="eye",
        findings=(
            "the bright optic cup inside the optic disc",
            "the pale hollow in the centre of the optic disc",
            "the optic cup within the rim of the optic nerve",
            "the whitest, central part of the optic disc",
            "the cup of the optic nerve head",
        ),
    ),
    "left ventricle": Target(
        name="left ventricle",
        scan="cardiac MRI",
        region="heart",
        findings=(
            "the round, bright cavity of the left ventricle",
            "the left ventricle enclosed by its thick wall",
            "the blood pool of the left ventricle",
            "the left ventricle in short-axis view",
            "the circular left ventricular cavity",
        ),
    ),
    "right ventricle": Target(
        name="right ventricle",
        scan="cardiac MRI",
        region="heart",
        findings=(
            "the crescent-shaped right ventricle",
            "the thin-walled right ventricle beside the septum",
            "the blood pool of the right ventricle",
            "the right ventricle in short-axis view",
            "the right ventricular cavity that wraps around the left",
        ),
    ),
    "myocardium": Target(
        name="myocardium",
        scan="cardiac MRI",
        region="heart",
        findings=(
            "the dark muscular ring of the myocardium",
            "the myocardium around the left ventricle",
            "the wall of the left ventricle",
            "the heart muscle in short-axis view",
            "the thick left ventricular myocardium",
        ),
    ),
    "liver": Target(
        name="liver",
        scan="abdominal CT scan",
        region="abdomen",
        findings=(
            "the large, even liver under the diaphragm",
            "liver tissue in the right upper abdomen",
            "the liver with its branching vessels",
            "the right and left lobes of the liver",
            "the liver beside the stomach",
        ),
    ),
}
