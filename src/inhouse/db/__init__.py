"""The database: one SQLAlchemy metadata, two dialects, explicit units of work.

Enters: a database URL. Leaves: ``Database`` with ``read()`` and ``write()`` units, column types and
dialect helpers. Knows no table's meaning: every package declares its own in its ``tables.py`` and
talks to them in plain functions that take a unit.
"""
