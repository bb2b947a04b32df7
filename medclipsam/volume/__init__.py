"""One decision for a stack of slices: answers slice by slice, then neighbours, then parts in 3-D.

slices --segment--> answers --with_neighbours--> answers --largest_parts--> answers
"""
