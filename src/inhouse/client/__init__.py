"""What applications use to talk to Inhouse: the wire models and a small SDK over HTTP.

Enters: a URL and a key. Leaves: typed requests and answers; the HTTP edge imports the same models,
so there is one definition of each. Knows no other package of Inhouse, so that it can be used, and
one day shipped, by itself.
"""
