"""Training and rollouts that begin by themselves, as far as each task allows it.

What enters: new examples, drift, evaluations, routes and rollouts, as they are stored. What leaves:
proposals, which are kept with their reasons; and, once accepted by a person or by ``automation =
"on"``, a training run, an evaluation or a rollout. ``when_to_train`` and ``when_to_roll_out`` say
what is next and are pure, ``facts`` reads what they need, ``carry`` does it, the ``conductor`` asks
again and again. It knows nothing of HTTP or pages; how a rollout goes on is ``rollout``'s business.
"""
