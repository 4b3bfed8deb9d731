"""The call path: a task's input goes in, a checked and recorded answer comes out.

Enters: calls, the catalog of tasks, routes and keys as copies of the database in memory, and one
function that turns a reference into a backend. Leaves: outcomes, and one interaction per call that
a backend was asked for. Knows no HTTP, no memory budget and no rollout; a route is followed here
and changed elsewhere.
"""
