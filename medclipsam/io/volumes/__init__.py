"""Volumes in one file: read slice by slice, and their masks written on the same voxels.

    nifti, nrrd, ...  header -> StoredVolume    source     StoredVolume -> slices as MedImage
    geometry          which slices, how shown   masks      masks of slices -> one file

DICOM series are stacks of files with headers of their own, and live in `medclipsam.io.dicom`.
"""
