"""A plugin of napari (extra `napari`): opens scans, and a widget that segments the one that is shown from words.

napari.yaml   what napari learns of it       reader   scans -> image layers
asking        a question -> masks, by a server that runs or by a model of this process
layers        masks, boxes -> layers         widget   the window: prompt, preset, window, slices, progress
"""
