"""The HTTP edge: hot routes as lean ASGI handlers, everything else as one FastAPI application.

Enters: a wired ``App`` and HTTP requests. Leaves: answers, and every error as problem JSON (on the
OpenAI routes in OpenAI's shape). Authentication and errors are one module each for both halves.
Holds no rule of the product: it reads a request, asks one domain function, writes the answer.
"""
