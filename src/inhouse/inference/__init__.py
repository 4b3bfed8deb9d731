"""What can answer: one port, ``Backend``, for upstreams (HTTP) and engines (own runtime).

Enters: a ``Question``. Leaves: a ``Reply``, or a ``BackendError`` that says whether another try may
help. Knows no route, no record and no registry.
"""
