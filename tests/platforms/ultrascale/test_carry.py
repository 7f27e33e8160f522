import re

import pytest
from amaranth.hdl import Const, Module

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.platforms.ultrascale.carry import add_lut
from qkloom.rtl.adder import TernaryAdder
from qkloom.tb.errors import ToolError
from qkloom.tb.formal import ProofError

# Words, constants, and whether the last word may be subtracted.
KINDS = [
    *((3, constant, False) for constant in (0, 1, 2)),
    *((3, constant, True) for constant in (0, 1)),
    *((n, constant, False) for n in (1, 2) for constant in (0, 1, 5, -1)),
    *((n, 0, True) for n in (1, 2)),
]


def parameters(width, kind):
    n, constant, subtracts = kind
    constant = constant if n == 3 else constant % (1 << width)
    return {"width": width, "n": n, "constant": constant, "subtracts": subtracts}


class TestTernaryAdder:
    @pytest.mark.parametrize("kind", KINDS)
    def test_proof(self, prove_twin, kind):
        # 9 bits need a second carry chain.
        for width in (1, 2, 9) if kind in KINDS[:5] else (3,):
            prove_twin(TernaryAdder, **parameters(width, kind))

    def test_proof_with_models_of_yosys(self, prove_twin, models_of_yosys):
        prove_twin(TernaryAdder, models=models_of_yosys, **parameters(9, KINDS[4]))

    def test_proof_notices(self, prove_twin):
        models = dict(UltraScale().models)
        models["CARRY8"] = models["CARRY8"].replace("carry[k] : DI[k]", "carry[k] : S[k]")
        with pytest.raises(ProofError):
            prove_twin(TernaryAdder, models=models, **parameters(3, KINDS[0]))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("width", [1, 8, 17])
    def test_cost(self, kind, width):
        text = emit(TernaryAdder(**parameters(width, kind)), target=UltraScale()).rtlil
        cells = re.findall(r"cell \\(\S+) ", text)
        assert cells.count("LUT6_2") == width
        assert cells.count("CARRY8") == -(-width // 8)


def test_too_many_inputs():
    message = "A LUT6_2 with two functions has 5 inputs, not 6"
    with pytest.raises(ValueError, match=f"^{message}$"):
        add_lut(Module(), "a", [Const(0, 1)] * 6, min, max)


def test_other_carry_type(prove_twin):
    models = dict(UltraScale().models)
    models["CARRY8"] = models["CARRY8"].replace('!= "SINGLE_CY8"', '!= "DUAL_CY4"')
    with pytest.raises(ToolError, match="CARRY8_of_this_type_is_not_modelled"):
        prove_twin(TernaryAdder, models=models, **parameters(2, KINDS[0]))
