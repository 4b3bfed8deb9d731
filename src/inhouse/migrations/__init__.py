"""The one history of the schema, for SQLite and PostgreSQL alike.

Enters: a database. Leaves: the same database at the newest revision. Knows every ``tables.py``, and
nothing that uses them.
"""
