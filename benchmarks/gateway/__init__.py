"""The gateway beside its peers and two floors, in one run on one machine.

``run`` goes through the scenarios and writes the JSON and the README's block; ``scenarios``,
``failures``, ``lifetime`` and ``encoder`` measure; ``load`` asks, ``mock`` answers, ``floors`` is
the least that a Python gateway can be, ``peers`` and ``project`` start what is measured,
``processes`` keeps account of it.
"""
