"""From feedback and files to frozen examples.

Enters: corrections and outcomes with their interactions, and labelled files. Leaves: dataset
snapshots, immutable and named by the hash of their content, with splits that do not leak. Knows no
model, no training and no route; an answer that nobody corrected never becomes an example.
"""
