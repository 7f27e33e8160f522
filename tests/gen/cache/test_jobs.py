import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkloom.gen.cache import JobList, generate_jobs, read_jobs
from qkloom.gen.chip import read_chip
from qkloom.tb.cache.faults import EmptyListError, UnknownBlockError
from qkloom.tb.errors import InputError

JOBS = [[2, 1, 0], [0, 0, 0], [1, 1, 1]]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def of_json(path: Path, **changes: Any) -> JobList:
    given = {"kv_heads": 1, "blocks": 3, "jobs": JOBS}
    text = json.dumps({k: v for k, v in (given | changes).items() if v is not None})
    return read_jobs(write(path / "jobs.json", text))


def test_all_forms_are_one_list(tmp_path: Path) -> None:
    expected = np.zeros((2, 2, 3), bool)
    for block, query_block, head in JOBS:
        expected[head, query_block, block] = True
    lines = "block,query_block,head\n" + "".join(f"{b},{q},{h}\n" for b, q, h in JOBS)
    table = read_jobs(write(tmp_path / "jobs.csv", lines))
    assert (table.needs == expected).all()
    assert (table.kv_heads, table.origin, table.uses) == (1, "jobs.csv", None)
    found = of_json(tmp_path, uses=[1, 1, 1])
    assert (found.needs == expected).all()
    assert found.uses is not None
    assert found.uses.tolist() == [1, 1, 1]
    np.save(tmp_path / "jobs.npy", expected)
    masks = read_jobs(tmp_path / "jobs.npy")
    assert masks.needs[1, 0].tolist() == [True, False, False]  # a row of zeros has a job, too
    masks.needs[1, 0] = False
    assert (masks.needs == expected).all()


def test_what_spreadsheets_write(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("block,query_block,head\n0,0,0\n", encoding="utf-8-sig")
    assert read_jobs(path).needs.all()


def test_a_selection_is_cut(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", np.ones((2, 4, 4), bool))
    found = read_jobs(tmp_path / "all.npy", kv_heads=2, causal=True)
    assert (found.needs == np.tri(4, dtype=bool)).all()
    assert found.kv_heads == 2


def test_heads_are_filled_up(tmp_path: Path) -> None:
    assert of_json(tmp_path, kv_heads=4).needs.shape == (4, 2, 3)


def test_a_made_up_context() -> None:
    chip = read_chip("u280-small").replace(block=32)
    told: list[str] = []
    found = generate_jobs(
        chip, "bands", 1024, kv_heads=2, progress=lambda step, share: told.append(step)
    )
    assert found.needs.shape == (8, 32, 32)
    assert not found.needs[:, 0, 1:].any()
    assert found.origin == "bands, 1,024 tokens"
    assert "selection of KV head 1" in told


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "must end in .npy or .npz (a selection), .csv or .json (a list of jobs)"),
        ("a.csv", "", "must begin with block,query_block,head, not ''"),
        ("a.csv", "1,2,3\n", "must begin with block,query_block,head, not '1,2,3'"),
        ("a.csv", "block,query_block,head\n1,2\n", "a job must be three numbers of 0 or more, of"),
        ("a.csv", "block,query_block,head\n1,-2,0\n", "a job must be three numbers of 0 or more"),
        (
            "a.csv",
            "block,query_block,head\n1,2,0\n1,2,0\n",
            "a job must come once, and block 1, query block 2, head 0 comes 2 times; leave it out",
        ),
        ("a.csv", "block,query_block,head\n99999999,999,0\n", "pairs of blocks at most, not 1 hea"),
        ("a.csv", "block,query_block,head\n" + "1" * 99 + ",2,0\n", "of ten digits at most, not"),
        ("a.csv", "block,query_block,head\n\u0663,2,0\n", "a job must be three numbers of 0 or"),
        ("a.csv", "block,query_block,head\n" + "1" * 200_000 + ",2,0\n", "must be CSV: field "),
        ("a.json", "{", "must be JSON: "),
        ("a.json", "[" * 100_000, "must be JSON: "),
        ("a.json", "[]", "must be an object with kv_heads, blocks and jobs"),
        ("a.json", '{"kv_heads": 1, "blocks": 1}', "and no other; look at jobs"),
    ],
)
def test_refuses(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_jobs(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"color": 1}, InputError, "look at color"),
        ({"blocks": 0}, InputError, "blocks must be a positive integer, not 0"),
        ({"blocks": 2}, UnknownBlockError, "Block must be 0 to 1, not 2; "),
        ({"jobs": []}, EmptyListError, "must have one at least, not 0"),
        ({"jobs": [[1, 2]]}, InputError, "a job must be block, query_block, head, not [1, 2]"),
        ({"jobs": [[1, 2, 3], [1]]}, InputError, "jobs must be a list of lists of three numbers"),
        ({"jobs": [[1, 2.5, 3]]}, InputError, "jobs must be a list of lists of three numbers"),
        ({"jobs": [[0, 0, -1]]}, InputError, "jobs must be a list of lists of three numbers"),
        ({"uses": [1, 1]}, InputError, "uses must have a number for each of 3 blocks, not 2"),
        ({"uses": 3}, InputError, "uses must be a list of numbers, each 0 to"),
    ],
)
def test_refuses_objects(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        of_json(tmp_path, **changes)


def test_refuses_what_contradicts(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    of_json(tmp_path)
    with pytest.raises(InputError, match=r"^--kv-heads must be 1, as .* has it, not 2; leave it"):
        read_jobs(path, kv_heads=2)
    with pytest.raises(InputError, match=r"^--causal cuts a selection, and .* leave it out$"):
        read_jobs(path, causal=True)
    with pytest.raises(InputError, match=r"must be an existing file"):
        read_jobs(tmp_path / "no.csv")
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match=r"must be an array of bool \(heads, .*not \(2, 2\) of fl"):
        read_jobs(tmp_path / "a.npy")
