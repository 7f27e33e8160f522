"""What can be wrong with a list of jobs; hardware has a status for each."""

from ..errors import InputError

__all__ = [
    "EmptyListError",
    "JobListError",
    "NoJobsError",
    "TooFewUsesError",
    "TooManyUsesError",
    "UnknownBlockError",
]


class JobListError(InputError):
    """A list of jobs that cannot be served."""


class EmptyListError(JobListError):
    """There is nothing to do: a call has one job at least."""

    def __init__(self) -> None:
        super().__init__("The list of jobs must have one at least, not 0; give it a job or no call")


class UnknownBlockError(JobListError):
    """A job is of a block that does not exist."""

    def __init__(self, block: int, blocks: int) -> None:
        super().__init__(
            f"Block must be 0 to {blocks - 1}, not {block}; give as many blocks as there are"
        )


class NoJobsError(JobListError):
    """A visit serves no job."""

    def __init__(self, block: int, jobs: int) -> None:
        super().__init__(
            f"A visit must have one job at least, not {jobs} of block {block}; leave it out"
        )


class TooFewUsesError(JobListError):
    """A block was announced with fewer jobs than come."""

    def __init__(self, block: int, left: int, jobs: int) -> None:
        super().__init__(
            f"Block {block} must have {jobs} uses left for a visit of {jobs} jobs, not {left}: too "
            "few uses were announced; count the jobs of each block again"
        )


class TooManyUsesError(JobListError):
    """A block was announced with more jobs than come."""

    def __init__(self, block: int, left: int) -> None:
        super().__init__(
            f"Block {block} must have 0 uses left at the end, not {left}: too many uses were "
            "announced; count the jobs of each block again"
        )
