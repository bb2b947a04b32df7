"""Takes the masks of a pseudolabel folder to other tools: COCO, and nnU-Net's raw data.

labelled     LABELS and SCANS -> LabelledScan: a scan and its masks
coco         images with RLE or polygons        nnunet     images and label maps on the scan's own grid
run          `medclipsam export`
"""
