"""Outgoing HTTP/1.1 with as little work per call as Python allows: a keep-alive pool of our own.

Enters: method, path, headers and body. Leaves: a whole answer, or one whose body comes piece by
piece, or a ``BackendError`` that says what went wrong on the wire. ``address`` turns a request into
bytes and makes connections, ``connection`` is one socket with one answer at a time, ``stream`` an
answer under way, ``pool`` decides which socket. Knows nothing of models, JSON, deadlines (callers
cancel) and what a status means.
"""
