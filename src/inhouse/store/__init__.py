"""The ModelStore: where the files of models live, published atomically and verified on every load.

Enters: a root folder, a clock, and staged files with a draft of their description. Leaves:
verified folders of immutable files, each with a manifest, and named references that move by
compare-and-swap. Knows no database, no settings, no task and no engine: what a version is for
stands in its manifest's ``metadata``, which only the engine that wrote it reads.
"""
