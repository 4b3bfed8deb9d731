"""The words everything else is written in: ids, time, errors, hashing, state tables,
log lines.

Enters: nothing. Leaves: values without behaviour of their own. Knows no database, no network,
no settings and no other package of Inhouse.
"""
