"""How traffic moves to a candidate: by evidence that may be looked at after every call.

Enters: outcomes of both arms with the weight that was in force, and a plan. Leaves: decisions as
values (wait, advance, hold, roll back, bake, finish), each with its reasons and its numbers.
``sequential``, ``plan``, ``guardrails``, ``users`` and ``decide`` are pure; ``simulate`` runs them
against truths that it knows (``truths``, ``scenarios``), beside rules that others use (``rivals``):
``direct`` in memory, or by ``loop`` through a database and everything that a server has.

``steer`` is what people do. ``controller`` steps what has begun: ``intake`` reads what is new,
``tally`` counts it, ``reconcile`` decides after each piece, ``enact`` carries it out in one
transaction with the route, and ``records`` reads it all again.

``experiments`` compare two references at a fixed split: ``conduct`` counts them into a ``trial``
and looks a declared number of times (``looks``, ``findings``). ``split`` says whose a task's split
is. ``audit`` draws calls of an ``owner``, a rollout or an experiment, for labels that do not know
the arm; ``judge`` has a model give them.
"""
