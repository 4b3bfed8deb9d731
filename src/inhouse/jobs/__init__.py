"""Background work: a queue in the database and the threads that work it off.

Enters: a job's name and arguments, and a handler for each name. Leaves: the job's state, progress
and result. A running job is held by a lease, so that the work of a dead worker is taken up by
another. Knows no handler's business: who needs to follow a job's state implements ``Follower``.
"""
