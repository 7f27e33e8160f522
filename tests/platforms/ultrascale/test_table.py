import re

import pytest

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.matrix.table import SubsetTable
from qkloom.tb.formal import ProofError


class TestSubsetTable:
    @pytest.mark.parametrize(("width", "planes"), [(1, 1), (6, 4), (10, 1)])
    def test_proof(self, prove_twin, width, planes):
        prove_twin(SubsetTable, held=("i", "i_bank"), depth=3, width=width, planes=planes)

    def test_proof_with_models_of_yosys(self, prove_twin, models_of_yosys):
        prove_twin(
            SubsetTable,
            held=("i", "i_bank"),
            depth=3,
            models=models_of_yosys,
            width=3,
            planes=5,
        )

    def test_proof_notices(self, prove_twin):
        models = dict(UltraScale().models)
        models["RAM32M16"] = models["RAM32M16"].replace("words[ADDRB][3:2]", "words[ADDRA][3:2]")
        with pytest.raises(ProofError):
            prove_twin(SubsetTable, held=("i", "i_bank"), depth=3, models=models, width=2, planes=2)

    @pytest.mark.parametrize(
        ("width", "planes", "rams"), [(10, 8, 6), (10, 4, 3), (6, 8, 4), (6, 4, 2), (10, 1, 1)]
    )
    def test_cost(self, width, planes, rams):
        text = emit(SubsetTable(width=width, planes=planes), target=UltraScale()).rtlil
        assert re.findall(r"cell \\(\S+) ", text).count("RAM32M16") == rams
