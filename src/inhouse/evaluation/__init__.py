"""Is the own model good enough? Several references on one frozen test split, and a gate.

Enters: a model version and a dataset snapshot. Leaves: scores with intervals, paired comparisons,
and a verdict (pass, fail, inconclusive) with its reasons. Moves no traffic, and knows training runs
only by the version they made.
"""
