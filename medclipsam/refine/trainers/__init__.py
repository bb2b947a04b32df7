"""Trainer classes for nnU-Net, in a folder of their own: it imports every module of the folder that it searches."""
