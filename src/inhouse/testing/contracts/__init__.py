"""Conformance suites: subclass one in your tests, give it your implementation, run pytest.

Each suite is what the product relies on, no more; an implementation that passes can be plugged in.
"""
