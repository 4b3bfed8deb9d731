"""Figures of the product, measured by commands: ``python -m benchmarks`` runs them all.

Each one writes a JSON file under ``benchmarks/results/`` and its block of README.md, and runs a
baseline beside us in the same run.
"""
