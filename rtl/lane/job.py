"""What a lane is told to do: jobs from outside, steps and passes within.

A *job* is one KV block for one query block of one head. A *step* is one key tile of a job: the unit
of the softmax. A *pass* is one tile held by the matrix unit while the rows of a query block stream
by.

A lane with ``gemm`` multiplies matrices too. A job is then a chunk of the inner dimension for a row
block of the activations (its *queries*) and as many output channels (its *keys*) as a query block
has columns of outputs; jobs of one sum are ``first`` to ``last``.

A lane that says where queries attend takes jobs for scores only: without values and outputs.

In a lane with room for whole KV blocks a job may *keep* its block for the lane's next job.
"""

from amaranth.hdl import signed
from amaranth.lib import data

from ..check import check_count
from ..formats import ceil_log2

__all__ = [
    "PLANES",
    "block_layout",
    "check_chunk",
    "check_digits",
    "check_operand",
    "check_shape",
    "index",
    "job_layout",
    "pass_layout",
    "step_layout",
]


def check_shape(*, size: int, block_rows: int, head_dim: int, slots: int, tokens: int = 1) -> None:
    """Refuse what no lane can be; every layout of this module does.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``head_dim`` not a multiple of ``size``.
    """
    parameters = {
        "Size": size,
        "Block rows": block_rows,
        "Head_dim": head_dim,
        "Tokens": tokens,
        "Slots": slots,
    }
    for name, value in parameters.items():
        check_count(name, value)
    if head_dim % size:
        raise ValueError(f"Head_dim must be a multiple of size {size}, not {head_dim}")


def check_digits(digits: int) -> None:
    """Refuse what is neither one digit nor two."""
    if digits not in (1, 2):
        raise ValueError(f"Digits must be 1 or 2, not {digits!r}")


def check_operand(name: str, width: int) -> None:
    """Refuse an operand that is neither 4 nor 8 bits wide."""
    check_count(name, width)
    if width not in (4, 8):
        raise ValueError(f"{name} must be 4 or 8, not {width}")


def check_chunk(name: str, width: int, *, size: int) -> None:
    """Refuse a width, of scores or outputs per cycle, that does not cut rows into equal chunks."""
    check_count(name, width)
    if size % width:
        raise ValueError(f"{name} must divide size {size}, not {width}")


def index(n: int) -> range:
    """Return the shape that tells ``n`` things apart; 1 bit at least, so that ports exist."""
    return range(max(n, 2))


def block_layout(*, size: int, block_rows: int, head_dim: int, slots: int) -> data.StructLayout:
    """Return the layout of a query block's extent: slot, rows, and tiles side by side."""
    check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
    return data.StructLayout(
        {
            "slot": index(slots),
            "rows": range(block_rows + 1),
            "d_tiles": range(head_dim // size + 1),
        }
    )


PLANES = range(9)
"""Shape of a number of planes: bits of what streams, of which there are 8 at most."""


def _planes(runtime_precision: bool) -> dict[str, object]:
    """Return the field that says how many bits of a query count, if jobs do say so."""
    return {"planes": PLANES} if runtime_precision else {}


def _product(gemm: bool, slots: int) -> dict[str, object]:
    """Return the fields that jobs and steps of lanes that multiply matrices share."""
    # The slot of a job's activations is another one than that of its sums.
    return {"gemm": 1, "out_slot": index(slots)} if gemm else {}


def _common(
    *,
    block_rows: int,
    head_dim: int,
    size: int,
    tokens: int,
    slots: int,
    runtime_precision: bool,
    gemm: bool,
    scores_only: bool,
    repeats: bool,
) -> dict[str, object]:
    """Return the fields that jobs and steps share."""
    check_shape(size=size, block_rows=block_rows, head_dim=head_dim, tokens=tokens, slots=slots)
    return {
        "first": 1,  # first of its (head, query block): state starts afresh
        "last": 1,  # last of its (head, query block): the output follows
        "slot": index(slots),  # where queries, running maximum, sum and output are kept
        "rows": range(block_rows + 1),  # query rows, 1 or more
        "d_tiles": range(head_dim // size + 1),  # head_dim in units of the array's size, 1 or more
        "causal": 1,  # key k is visible to row i only when k <= diagonal + i
        "diagonal": signed(ceil_log2(tokens) + 2),
        "mantissa": 17,  # score factor = mantissa / 2**shift
        "shift": 6,
        **_planes(runtime_precision),
        **_product(gemm, slots),
        **({"scores_only": 1} if scores_only else {}),  # neither values nor outputs
        **({"keeps": 1} if repeats else {}),  # the next job is of the same KV block
    }


def job_layout(
    *,
    size: int,
    block_rows: int,
    head_dim: int,
    tokens: int,
    slots: int,
    runtime_precision: bool = False,
    gemm: bool = False,
    scores_only: bool = False,
    repeats: bool = False,
) -> data.StructLayout:
    """Return a job's layout; ``keys``, ``diagonal`` count from its KV block's first key.

    Parameters
    ----------
    size : int
        Rows and columns of the array.
    block_rows : int
        Most query rows, and most keys, of a job.
    head_dim, tokens : int
        Largest head dimension and longest sequence.
    slots : int
        (head, query block) pairs in the lane at a time.
    runtime_precision : bool
        Whether a job says how many bits of its queries count, the low ones: ``planes``.
    gemm : bool
        Whether a job may be one of a matrix product.
    scores_only : bool
        Whether a job may be for scores only.
    repeats : bool
        Whether a job may keep its KV block for the next one, which then sees no fewer of its keys.
    """
    common = _common(
        block_rows=block_rows,
        head_dim=head_dim,
        size=size,
        tokens=tokens,
        slots=slots,
        runtime_precision=runtime_precision,
        gemm=gemm,
        scores_only=scores_only,
        repeats=repeats,
    )
    return data.StructLayout({**common, "keys": range(block_rows + 1)})


def step_layout(
    *,
    size: int,
    block_rows: int,
    head_dim: int,
    tokens: int,
    slots: int,
    runtime_precision: bool = False,
    gemm: bool = False,
    scores_only: bool = False,
    repeats: bool = False,
) -> data.StructLayout:
    """Return a step's layout: ``keys`` and ``diagonal`` count from its key tile's first key.

    Steps alternate between the two banks of scores and of probabilities. In a matrix product
    ``first`` and ``last`` are of the job, whose activations come and go with it, and ``sum_first``
    and ``sum_last`` say that the job is the first, the last of a sum.
    """
    common = _common(
        block_rows=block_rows,
        head_dim=head_dim,
        size=size,
        tokens=tokens,
        slots=slots,
        runtime_precision=runtime_precision,
        gemm=gemm,
        scores_only=scores_only,
        repeats=repeats,
    )
    of_sum = {"sum_first": 1, "sum_last": 1} if gemm else {}
    returns = {"back": 1} if repeats else {}  # last of a job that keeps its block
    return data.StructLayout({**common, "keys": range(size + 1), "bank": 1, **of_sum, **returns})


def pass_layout(
    *,
    size: int,
    block_rows: int,
    head_dim: int,
    slots: int,
    runtime_precision: bool = False,
    single: bool = False,
    repeats: bool = False,
) -> data.StructLayout:
    """Return a pass's layout: ``value`` tells the second product from the first.

    With ``single``, a pass says whether its step has no second product; with ``repeats``, whether
    its tiles stay, and what follows begins with the first ones of its job again.
    """
    check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
    return data.StructLayout(
        {
            "value": 1,
            "first": 1,  # of the step's (head, query block)
            "last": 1,
            "slot": index(slots),
            "bank": 1,
            "rows": range(block_rows + 1),
            "d_tiles": range(head_dim // size + 1),
            "tile": index(head_dim // size),
            "tile_last": 1,  # the step's last tile of this product
            **_planes(runtime_precision),
            **({"single": 1} if single else {}),
            **({"keeps": 1, "back": 1} if repeats else {}),
        }
    )
