"""Keeps what a person decides on pseudo-labels: accepted, rejected or corrected, at once and for good.

decisions    review.jsonl: one line a decision or undo, safe from crashes, shared by several windows
queue        what is to be looked at, the least sure first, filtered; how far the person is
masks        the masks of an item as the page shows them; corrected ones written on the same grid
store        the whole of it, for the page
reviewed     records as `refine`, `export` and `evaluate` take them with --reviewed
"""
