from qkloom.tb.lane.running import RunningMaxima, RunningSums


def test_maxima_are_rounded_up_and_kept_per_row():
    model = RunningMaxima()
    assert model.step("a", [3, -8], first=True) == (2, -1 << 15)
    assert model.step("b", [-3], first=True) == (-1, -1 << 15)
    assert model.step("a", [9], first=False) == (5, 2)
    assert model.step("a", [4], first=False) == (2, 5)
    assert model.step("b", [1], first=False) == (1, -1)
    assert model.step("a", [0], first=True) == (0, -1 << 15)


def test_sums_have_four_guard_bits_and_shift_one_side():
    model = RunningSums()
    assert model.step("a", [1, 2], amount=0, of_new=False, first=True) == 48
    assert model.step("a", [1], amount=2, of_new=False, first=False) == 12 + 16
    assert model.step("a", [3], amount=5, of_new=True, first=False) == 28 + 2  # 1.5, ties up
    assert model.step("a", [1], amount=1, of_new=False, first=True) == 16
