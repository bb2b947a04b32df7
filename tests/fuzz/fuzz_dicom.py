"""Coverage-guided fuzzing of the DICOM reader, see fuzzing.py."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz(".dcm", (".dcm",), ("pydicom",))
