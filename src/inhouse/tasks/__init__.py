"""What can be asked: tasks, their prompts, their outputs, and how an answer is scored.

Enters: the declared ``[tasks.*]`` tables. Leaves: ``TaskSpec`` values, rendered prompts, parsed and
validated outputs, item scores. Knows no model, no database and no network.
"""
