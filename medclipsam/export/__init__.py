"""Takes the masks of a pseudolabel folder to other tools.

choice, labelled    LABELS and SCANS -> LabelledScan: a scan and the files of its masks
pixels              LabelledScan -> images with their masks as arrays        volumes    ... stacked on the grid
coco, yolo, labelme, labelstudio    a document for images, with masks as pixels or outlines
nnunet, slicer, bids                label maps and masks on the scans' own grids
run                 `medclipsam export`: all of it into a folder that appears whole
"""
