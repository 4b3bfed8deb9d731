"""The runtimes that answer on this machine: the embedded language model and the own encoders.

Enters: a model directory of the ModelStore and a ``Question``. Leaves: a ``Reply`` or a
``BackendError``. torch and transformers are imported in child processes only (``lm_child``,
``lm_model``, ``encoder_export``); ONNX Runtime runs in threads of the caller. Knows no route, no
registry and no record.
"""
