"""DICOM in, DICOM out.

planes, stacks, series    which pictures are there, and in which order
frames                    one of them: decoders (codestream, gdcm_child) -> display, spacing, by its values
seg, rtstruct             masks -> DICOM SEG, RT Structure Set; what both repeat of sources, and say of their maker
"""
