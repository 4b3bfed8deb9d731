"""Trainers: each turns examples into the files of a model that an engine can load.

Enters: ``Work`` (examples of train and valid, a base model's folder, settings). Leaves: a folder of
files, figures, and a probe that a fresh process must reproduce. Runs in a child process; the heavy
libraries are imported inside functions. Knows no database, no store and no run.
"""
