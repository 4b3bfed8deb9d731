"""What people and late truth say about interactions.

Enters: corrections, ratings, outcomes and comments, each naming an interaction, which may not be
recorded yet. Leaves: statements stored once, and what several of them add up to. Knows nothing of
datasets, models or routes: what is learned from feedback is decided above it.
"""
