"""Trains networks that learn from masks and texts, on the shared loop.

table or folder --rows--> checked --examples--> Batch --task--> the network's losses
                                                          '--> validation: Dice, found rates, threshold, val.png
"""
