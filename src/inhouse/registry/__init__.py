"""Which versions exist, how they came to be, and which route each task has.

Enters: a published artifact; a person's or a controller's wish to move traffic. Leaves: numbered
versions with a status, and numbered route revisions. Knows ids of runs and snapshots only as opaque
text, and nothing of traffic.
"""
