"""The lane: attention of one query block at a time, from scores to outputs."""
