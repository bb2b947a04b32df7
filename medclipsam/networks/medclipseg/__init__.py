"""MedCLIPSeg (Koleilat et al., CVPR 2026): probabilistic adapters between the blocks of two frozen towers.

    image --frozen block--> V --+--adapter--> V --frozen block--> ... patches --upscaled--+
                                | image asks text, text asks image                        |--> dot product --> mask
    text  --frozen block--> T --+--adapter--> T --frozen block--> ... sentence --MLP------+

Where paper and released code differ, the paper's form is the default and the released form a setting.
"""
