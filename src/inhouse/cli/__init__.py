"""The command line: noun, verb, one line per error.

Enters: arguments. Leaves: text or ``--json``, and an exit code (0 done, 1 failed, 2 bad input,
3 not found, 4 conflict). Modules here import the product inside their commands, so that ``--help``
is quick; the rest of the product never imports them.
"""
