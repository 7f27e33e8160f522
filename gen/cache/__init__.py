"""The cache of KV blocks, replayed on lists of jobs: read, counted, drawn."""

from .jobs import JobList, generate_jobs, read_jobs
from .run import CacheRun, run_cache

__all__ = ["CacheRun", "JobList", "generate_jobs", "read_jobs", "run_cache"]
