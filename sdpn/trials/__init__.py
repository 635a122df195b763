"""Trial lists and enrollment maps: read, written, and as arrays."""
