"""From a dataset snapshot to a registered candidate, in a child process that may die at any time.

Enters: a recipe's name with settings, a snapshot. Leaves: a training run with its events, a version
published in the ModelStore and entered in the registry, a job that evaluates it. The test split
never enters the child. Knows no evaluation and no route: "evaluate it" travels as a job's name.
"""
