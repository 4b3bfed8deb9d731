"""What needs several packages to be known: independence, cost and latency over time.

Enters: a unit of the database and an instant. Leaves: reports as plain values, and the Prometheus
series made of them. Knows no HTTP and no page, and moves nothing.
"""
