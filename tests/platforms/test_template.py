import pytest

from qkloom.platforms.template import check_name, fill, tcl_list


def test_fill(tmp_path):
    template = tmp_path / "t.tcl"
    template.write_text("set x @{x}; puts $x [lindex {@{y}} 0]; # a@b @@{x}\n")
    assert fill(template, x=1, y="a b") == "set x 1; puts $x [lindex {a b} 0]; # a@b @{x}\n"


def test_errors(tmp_path):
    template = tmp_path / "t.tcl"
    template.write_text("@{x}")
    with pytest.raises(KeyError, match=r"^'x'$"):
        fill(template)
    with pytest.raises(ValueError, match=r"^t\.tcl has no place for y, z$"):
        fill(template, x=1, y=2, z=3)


def test_list():
    assert tcl_list([]) == ""
    assert tcl_list(["a.v", "b/c[0].v"]) == "\n    a.v\n    b/c[0].v\n"


@pytest.mark.parametrize("word", ["", "a b", "a}", "$a", 'a"b', "a\\b", "a;b"])
def test_list_errors(word):
    with pytest.raises(ValueError, match=r"^A word must be without blanks and signs of Tcl, not "):
        tcl_list([word])


def test_name():
    assert check_name("Top", "a_1") == "a_1"
    with pytest.raises(ValueError, match=r"^Top must be an identifier, not '1a'$"):
        check_name("Top", "1a")
