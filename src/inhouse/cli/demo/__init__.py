"""``inhouse demo``: the whole story on one machine, told line by line from real measurements.

Enters: the texts in the box, or a file of the user's own. Leaves: a project folder that
``inhouse serve`` goes on with, and ``story.json``: every figure told, beside the command that
computes it again from the database.
"""
