"""Coverage-guided fuzzing of the NIfTI reader, plain and gzipped, see fuzzing.py."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz(".nii", (".nii", ".nii.gz"), ("nibabel",))
