"""The pages, as HTML from the server: what is recorded, trained and served, and how to act on it.

In comes a request of a browser with a session (``login``, ``access``); out goes a page or, for
HTMX, a part of one (``shell.Page``). One module per area reads through the domain packages and
renders templates of the same name; ``site`` joins them. The pages know nothing of ``api``: what
they show is also a route there, made of the same functions.
"""
