from qkloom.tb.matrix.element import output_sums, stationary_sums


def token(operand, *, swap=0, load=0):
    return {"operand": operand, "swap": swap, "load": load}


def pair(operand, *, valid=1, first=0):
    return {"operand": operand, "valid": valid, "first": first, "last": 0}


def test_a_loaded_weight_counts_from_the_cycle_after_its_swap():
    cycles = [
        (token(9, load=1), 5, 1),
        (token(9, swap=1, load=1), 7, 2),
        (token(2), 0, -20),
        (token(3, swap=1), 0, 0),
        (token(-4), 0, 100),
    ]
    assert stationary_sums(cycles, sum_width=8) == [1, 2, 246, 15, 72]


def test_a_fold_starts_afresh_and_waits_for_valid_pairs():
    cycles = [
        (pair(3, first=1), 4),
        (pair(9, valid=0, first=1), 9),
        (pair(-1), 20),
        (pair(2, first=1), 2),
    ]
    assert output_sums(cycles, sum_width=8) == [12, 12, 248, 4]
