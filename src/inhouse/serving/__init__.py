"""Which backend stands behind a reference, opened once and kept warm.

Enters: a reference. Leaves: a ``Backend``. Knows upstreams from the settings, bases and own
versions from the ModelStore and the registry; nothing of routes or calls.
"""
