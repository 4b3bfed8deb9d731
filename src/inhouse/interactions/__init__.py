"""What was asked and what was answered: one row per call.

Enters: finished calls, as ``InteractionRecord``. Leaves: committed rows, which are read by id, by
filter and in counts. Knows no route, no backend and no feedback; whoever calls decides what a call
means.
"""
