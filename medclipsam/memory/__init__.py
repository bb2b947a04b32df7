"""Keeps what was computed of images and texts: the last ones in the process, more on disk where a folder is given."""
