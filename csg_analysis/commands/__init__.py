"""``csg-analyze``, a file a command; each imports what it needs when it runs."""
