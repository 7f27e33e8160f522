"""Blocks that UltraScale+ is given a structure of: it is the twin, in every cycle."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import In

from qkloom.gen.chip import preset_names, read_chip
from qkloom.gen.emit import emit
from qkloom.gen.estimate.model import walk
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.adder import TernaryAdder
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.lane.lane import Lane
from qkloom.rtl.matrix.booth import Accumulator, BoothProduct
from qkloom.rtl.matrix.table import SubsetTable
from qkloom.rtl.primitive import Primitive
from qkloom.rtl.product import Product
from qkloom.tb.formal import prove
from tests.platforms.ultrascale.conftest import Both
from tests.platforms.ultrascale.test_carry import KINDS, parameters
from tests.platforms.ultrascale.test_dsp48e2 import (
    PACKINGS,
    chain_proof,
    product_proof,
    prove_chain,
    prove_product,
)

from .arrays import ARRAYS
from .proof import INDUCTION, Proof, Step, models_of

__all__ = ["proofs"]

WIDEST = 32
U4 = Integer(4, is_signed=False)
NUMBERS = (I4, U4, I8, U8)
SHORT = [(Integer(2), Integer(2)), (Integer(5), Integer(2, is_signed=False))]

Parameters = Mapping[str, Any]


class EachBoth(Component):
    """Twins and structures of several blocks of a kind, each pair with inputs of its own."""

    def __init__(self, *, block: type[Primitive], each: tuple[tuple[tuple[str, Any], ...], ...]):
        self._each = [Both(block=block, parameters=parameters) for parameters in each]
        super().__init__(
            {
                f"{name}_{k}": In(member.shape)
                for k, both in enumerate(self._each)
                for name, member in both.signature.members.items()
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for k, both in enumerate(self._each):
            m.submodules[f"both_{k}"] = both
            for name in both.signature.members:
                m.d.comb += getattr(both, name).eq(getattr(self, f"{name}_{k}"))
        return m


def proofs() -> Iterator[Proof]:
    """Yield the proofs, one after the other."""
    for packing in PACKINGS:
        yield Proof(
            f"PackedChain, {packing}",
            f"the longest chain, {packing.rows} slices: every register, and the sums",
            INDUCTION,
            partial(_chain, packing),
        )
    yield Proof(
        "Product, as the presets use it",
        "operands, product and result of every one in a lane",
        INDUCTION,
        lambda: _products(_products_in_use()),
    )
    for width, planes in [(10, 8), (10, 4), (10, 1), (6, 8), (6, 4), (6, 1)]:
        yield Proof(
            f"SubsetTable, {width} bits, {planes} planes",
            "every word that is written and read",
            INDUCTION,
            partial(_table, width, planes),
        )
    for kind in KINDS:
        n, constant, subtracts = kind
        words = f"{n} word{'s' * (n > 1)}" + f" and {constant}" * bool(constant)
        yield Proof(
            f"TernaryAdder, {words}{', the last one may be subtracted' if subtracts else ''}",
            f"widths 1 to {WIDEST}",
            INDUCTION,
            partial(_adders, [parameters(width, kind) for width in range(1, WIDEST + 1)]),
        )
    yield Proof(
        "TernaryAdder, as the arrays use it",
        f"every one in {len(ARRAYS)} arrays, with its width and constant",
        INDUCTION,
        lambda: _adders(_adders_in_use()),
    )
    for a, b in [*((a, b) for a in NUMBERS for b in NUMBERS), *SHORT]:
        yield Proof(
            f"BoothProduct, {a} by {b}",
            "product and carry",
            INDUCTION,
            partial(_blocks, BoothProduct, [{"a": a, "b": b}]),
        )
    for i_width, width in [(8, 24), (12, 28), (16, 32), (17, 33)]:
        yield Proof(
            f"Accumulator, {i_width} into {width} bits",
            "the sum",
            INDUCTION,
            partial(_blocks, Accumulator, [{"i_width": i_width, "width": width}]),
        )


def _chain(packing) -> Iterator[Step]:
    design, stages, models = chain_proof(packing.rows, packing)
    given = repr(stages).encode() + models_of(models)
    yield Step(design, given, lambda: prove_chain(packing.rows, packing))


def _products(each: Sequence[Parameters]) -> Iterator[Step]:
    for given in each:
        design, stages, models = product_proof(**given)
        claims = repr(stages).encode() + models_of(models)
        yield Step(design, claims, partial(prove_product, **given))


def _table(width: int, planes: int) -> Iterator[Step]:
    options = {"held": ("i", "i_bank"), "depth": 3}
    yield from _blocks(SubsetTable, [{"width": width, "planes": planes}], **options)


def _blocks(
    block: type[Primitive],
    each: Sequence[Parameters],
    *,
    held: tuple[str, ...] = (),
    depth: int = 1,
) -> Iterator[Step]:
    for given in each:
        yield _step(Both(block=block, parameters=tuple(given.items()), held=held), depth)


def _adders(each: Sequence[Parameters]) -> Iterator[Step]:
    """Prove adders eight at a time: starting Yosys takes longer than to prove one."""
    for first in range(0, len(each), 8):
        some = tuple(tuple(parameters.items()) for parameters in each[first : first + 8])
        yield _step(EachBoth(block=TernaryAdder, each=some), 1)


def _step(wrapper: Component, depth: int) -> Step:
    design = emit(wrapper, name="claims")
    models = {name: text for name, text in UltraScale().models.items() if name != "DSP48E2"}
    given = repr(depth).encode() + models_of(models)
    return Step(design, given, lambda: prove(design, depth=depth, models=models))


class _Noting:
    """A platform object that builds no structure, and notes which blocks could have one."""

    models: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.blocks: dict[tuple[Any, ...], Primitive] = {}

    def structure(self, block: Primitive) -> None:
        self.blocks[type(block).__name__, *block.parameters.values()] = block


def _adders_in_use() -> list[Parameters]:
    noting = _Noting()
    for array in ARRAYS:
        emit(array.build(), target=noting)
    names = sorted(key for key in noting.blocks if key[0] == TernaryAdder.__name__)
    return [noting.blocks[key].parameters for key in names]


def _products_in_use() -> list[Parameters]:
    chips = map(read_chip, preset_names())
    lanes = (Lane(matrix="plain", **chip.lane_parameters) for chip in chips)
    parts = (part for lane in lanes for part, _ in walk(lane) if isinstance(part, Product))
    return list({part.module_name: part.parameters for part in parts}.values())
