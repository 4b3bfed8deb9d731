"""The file formats that examples come in and go out by, one module each.

Every module reads a file into rows and writes records into a file; what a row means to a task is
decided above them, in ``datasets.ingest``. Modules that need an extra are loaded when asked for.
"""
