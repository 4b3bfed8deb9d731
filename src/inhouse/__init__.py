"""Inhouse brings your AI in house.

The story, and the order of the packages:

    call -> route -> run -> record -> feedback -> dataset -> train -> publish -> register
         -> evaluate -> roll out -> monitor

The way of a request, from the socket to the answer:

    api.dispatch        one ASGI application in front; hot paths go to
    api.hot             lean handlers: read, check, call the gateway, answer
    gateway.call        one call of a task, from its input to its recorded answer
    gateway.chats       the same for chats that pass through, whole or token by token
    gateway.limits      may this key, this upstream, this server go on today?
    gateway.route       which arm, by a salted hash of the unit (pure)
    gateway.fallback    the chain under one deadline, past breakers that are open
    inference           what answers: an upstream, the embedded general model, an own model
    tasks.outputs       what a model said becomes a valid output, or a failure
    interactions.record the batching recorder

The way of a page, from the browser to the HTML:

    api.dispatch        whatever is not hot goes to FastAPI, where the pages stand beside /v1
    dashboard.access    the session of a cookie and its key; or this machine, while no key exists
    dashboard.shell     the role, the token of a form, the frame around a page
    dashboard.<area>    one module per area of pages; reads through the packages below
    interactions.activity  counts by the hour, kept by the recorder: figures without reading calls
    dashboard.<area>_view, dashboard.charts    rows, words and coordinates (pure), for a template

The way of a correction into a served model:

    feedback.submit     a statement about an interaction
    datasets.snapshot   curated, split with near repeats on one side, frozen, named by its hash
    training.execute    a recipe (a head, or the whole encoder) runs on it in a child process
    store.publish       stage, verify, finalize: files in the ModelStore, verified when opened
    registry.versions   the next version of the task, a candidate
    evaluation.run      scored beside the general model and the floors; the gate
    rollout.steer       a person begins a rollout; its first step is a revision of the route
    rollout.controller  counts how calls of both arms end (interactions.outcomes), decides, goes on
    rollout.conduct     the same for experiments: two references compared at a fixed split
    registry.move       traffic moves, in numbered revisions of the route
    automation.conductor  begins any of it by itself, or proposes it, as a task's settings say

And back: monitoring.lineage follows a served answer to its version, run, snapshot, examples and
calls; monitoring.erasure deletes a subject's data along the same links.

Around them: ``core`` (ids, time, errors, hashing, log lines), ``settings`` (inhouse.toml),
``notify`` (channels that tell people), ``db`` and ``migrations`` (one schema, two databases),
``tasks`` (what can be asked), ``serving`` (references to open backends), ``jobs`` (background work
with leases), ``rollout`` (when a candidate may have more traffic, decided from evidence),
``monitoring`` (figures, drift, readiness, independence, lineage, erasure), ``bootstrap`` (wires all
of it), ``call_path`` (wires what a call passes), ``reload`` (follows inhouse.toml), and the edges:
``api`` (HTTP), ``dashboard`` (the pages), ``client`` (the SDK), ``cli`` (the command line).
``testing`` is for those who extend it.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
