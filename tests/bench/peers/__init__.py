"""The same work with what one would use instead: one program each, as its manual suggests."""
