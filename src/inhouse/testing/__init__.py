"""For authors of plugins and tests: fakes, scripted servers, conformance suites of the ports.

Nothing in the product imports it.
"""
