"""Talks to an archive of images by DICOMweb: what is searched, fetched and stored, and nothing unless it is asked for.

    dicomweb:https://archive/dicom-web   ->   Address   ->   Archive: QIDO-RS (find), WADO-RS (fetch), STOW-RS (store)

Here alone a scan comes over a network. User, password and token come from the environment or netrc and go nowhere else.
"""
