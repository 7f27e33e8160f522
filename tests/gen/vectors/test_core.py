import qkloom
from qkloom.gen.call import build_core
from qkloom.gen.vectors.core import core_vectors


def test_same_in_every_run(mini: qkloom.Chip) -> None:
    assert core_vectors(mini.description, build_core(mini.description), 2) == core_vectors(
        mini.description, build_core(mini.description), 2
    )


def test_more_cases_begin_with_the_same(mini: qkloom.Chip) -> None:
    core = build_core(mini.description)
    one, two = (core_vectors(mini.description, core, n) for n in (1, 2))
    for name, words in one.inputs.items():
        assert two.inputs[name][: len(words)] == words


def test_every_lane_answers(mini: qkloom.Chip) -> None:
    expected = core_vectors(mini.description, build_core(mini.description), 1).outputs["o"]
    assert expected.key_width == 1
    assert {word & 1 for word in expected.words} == {0, 1}
