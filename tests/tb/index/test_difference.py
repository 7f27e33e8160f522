from qkloom.tb.index.difference import differences


def test_differences():
    assert differences([1, 3, 5], [0, 3, 9]) == ([1, 5], [0, 9])
    assert differences([], [2]) == ([], [2])
    assert differences([2], []) == ([2], [])
