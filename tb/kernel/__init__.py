"""A kernel from outside: how tensors lie in its memory, and what a host does with it."""
