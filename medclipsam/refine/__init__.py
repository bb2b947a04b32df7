"""Weakly supervised training: learn from the masks of a `pseudolabel` folder, and predict with many weights at once.

material (labels + scans) -> dataset -> task on the shared loop | nnunet -> kept weights -> ensemble -> predict
                                        recipe: cycles                        uncertainty: entropy, disagreement

MedCLIP-SAMv2, section 3.4.3, after Zhao et al. (MICCAI 2022). `run.refine` trains, `predict.predict_folder`
uses what came of it.
"""
