"""Says what turns a PET's activity into SUV by body weight, where the file tells all that it takes, and never guesses.

    SUVbw = activity (Bq/ml) * body weight (g) / dose at the time that the activity is corrected to (Bq)

The formula for scans of all vendors of the Quantitative Imaging Biomarkers Alliance (FDG-PET/CT profile, appendix G):
units BQML, corrected for attenuation and decay; to the start of the scan (START), for which the dose decays from its
injection, or to the injection itself (ADMIN). The start is the time of the series, unless the image is older.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM

from medclipsam.io.dicom.values import numbers, text

_LONGEST = timedelta(hours=24)
"""From injection to scan; more means that a date is wrong."""


def suv_factor(header: Dataset) -> float | None:
    """What activity in Bq/ml is multiplied by to be SUV by body weight; None where the file does not tell enough.

    Args:
        header: a PET image of one frame (PS3.3 A.21).
    """
    weight_kg, dose = _positive(header, "PatientWeight"), _dose_bq(header)
    if text(header, "Modality") != "PT" or text(header, "Units") != "BQML" or weight_kg is None or dose is None:
        return None
    return weight_kg * 1000 / dose if _is_corrected(header) else None


def _is_corrected(header: Dataset) -> bool:
    corrected = header.get("CorrectedImage") or ()
    named = {str(each).upper() for each in ([corrected] if isinstance(corrected, str) else corrected)}
    return {"ATTN", "DECY"} <= named


def _dose_bq(header: Dataset) -> float | None:
    """The dose at the time that the activity is corrected to."""
    drugs = header.get("RadiopharmaceuticalInformationSequence") or []
    if len(drugs) != 1:
        return None
    dose, half_life_s = _positive(drugs[0], "RadionuclideTotalDose"), _positive(drugs[0], "RadionuclideHalfLife")
    if dose is None or half_life_s is None:
        return None
    if text(header, "DecayCorrection") == "ADMIN":
        return dose
    waited = _waited(header, drugs[0])
    if text(header, "DecayCorrection") != "START" or waited is None:
        return None
    decayed: float = dose * 2 ** (-waited.total_seconds() / half_life_s)
    return decayed


def _waited(header: Dataset, drug: Dataset) -> timedelta | None:
    """From injection to the start of the scan."""
    start, acquired = _moment(header, "Series"), _moment(header, "Acquisition")
    injected = _injected(drug, start)
    if start is None or acquired is None or injected is None or acquired < start:
        return None
    waited = start - injected
    return waited if timedelta(0) <= waited < _LONGEST else None


def _injected(drug: Dataset, start: datetime | None) -> datetime | None:
    """By date and time; a time alone is that of the day of the scan (PS3.3 C.8.9.2.1.1)."""
    try:
        if drug.get("RadiopharmaceuticalStartDateTime"):
            return _plain(DT(str(drug.RadiopharmaceuticalStartDateTime)))
        if start is not None and drug.get("RadiopharmaceuticalStartTime"):
            at = TM(str(drug.RadiopharmaceuticalStartTime))
            return None if at is None else datetime.combine(start.date(), at)
    except (ValueError, TypeError):
        pass
    return None


def _moment(header: Dataset, what: str) -> datetime | None:
    try:
        day, at = DA(str(header.get(f"{what}Date") or "")), TM(str(header.get(f"{what}Time") or ""))
    except (ValueError, TypeError):
        return None
    return None if day is None or at is None else datetime.combine(day, at)


def _plain(moment: DT | None) -> datetime | None:
    """Without offset from UTC: one that only some times have cannot be compared with the others."""
    return None if moment is None or moment.tzinfo is not None else datetime.fromisoformat(moment.isoformat())


def _positive(dataset: Dataset, keyword: str) -> float | None:
    found = numbers(dataset, keyword)
    return found[0] if len(found) == 1 and found[0] > 0 else None
