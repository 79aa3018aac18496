"""``make demo``: the whole story against the running system, seen from outside."""
