"""How fast the pages are: server time with a million interactions, on both databases."""
