"""DSP48E2 slices: the one place where their attributes and control codes stand.

All references are to chapter 2 of UG579, the UltraScale Architecture DSP Slice User Guide, v1.9.

A slice of a *chain* multiplies a packed word by an operand and adds what the slice below has. That
of a *product* multiplies two operands and adds a constant, or subtracts the product from C.

Registers in use ("A, B, C, D Inputs and Registers")::

    BREG = 1          both: the operand, in B2
    AREG = 0          chain: A is the constant that turns offset binary into two's complement, so
                      that it needs no register
           1          product: the other operand, in A2
    CREG = 0          C is 0
           1          product that is subtracted from C
    DREG = ADREG = 1  chain: D is the shadow (enabled by CED), AD the active word (by CEAD)
                      product: nobody looks at them
    MREG = PREG = 1   both

What the multiplier sees (INMODE, "Dual B, D, and Pre-Adder Registers and Multiplexers")::

    AMULTSEL = "AD", BMULTSEL = "B", PREADDINSEL = "A"     chain: multiply AD by B
    AMULTSEL = "A"                                         product: multiply A by B
    INMODE[4] = 0     B2 is the multiplier's B
    INMODE[3] = 0     AD = D + A, not D - A
    INMODE[2] = 1     chain: D is added, not 0
    INMODE[1] = 0     A is there, not 0
    INMODE[0] = 0     A comes from the path through A2: this register, or the port itself

What the adder adds (OPMODE, "W, X, Y, and Z Multiplexers"; "ALUMODE"; "Carry Input Logic")::

    OPMODE[8:7] = 10  W is the attribute RND    first slice of a chain: the biases;
                                                product: the constant
                  00  W is 0                    others
    OPMODE[6:4] = 000 Z is 0                    first slice of a chain; product
                  001 Z is PCIN                 other slices: P of the one below, over the cascade
                  011 Z is C                    product that is subtracted
    OPMODE[3:0] = 0101  X and Y together are M
    ALUMODE = 0000    P = Z + (W + X + Y + CIN)
              0011    P = Z - (W + X + Y + CIN)  product that is subtracted
    CARRYINSEL = 000  CIN is the port CARRYIN, here 0

Control inputs are constants, so their registers are off (``OPMODEREG = 0`` and so on). Clock
enables of registers that are off or always load are 1, those of D and AD in a product 0; resets are
0.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, ValueLike, signed

from ...rtl.matrix.dsp import PackedChain
from ...rtl.matrix.packing import A_WIDTH, B_WIDTH, P_WIDTH
from ...rtl.product import Product

__all__ = ["build_packed_chain", "build_product"]

W_IS_RND = 0b10_000_00_00
Z_IS_PCIN = 0b00_001_00_00
Z_IS_C = 0b00_011_00_00
XY_IS_M = 0b00_000_01_01
D_PLUS_A = 0b00100
Z_MINUS_REST = 0b0011

ATTRIBUTES = {
    "A_INPUT": "DIRECT",
    "B_INPUT": "DIRECT",
    "AMULTSEL": "AD",
    "BMULTSEL": "B",
    "PREADDINSEL": "A",
    "USE_MULT": "MULTIPLY",
    "USE_SIMD": "ONE48",
    "USE_PATTERN_DETECT": "NO_PATDET",
    "AREG": 0,
    "ACASCREG": 0,
    "BREG": 1,
    "BCASCREG": 1,
    "CREG": 0,
    "DREG": 1,
    "ADREG": 1,
    "MREG": 1,
    "PREG": 1,
    "INMODEREG": 0,
    "OPMODEREG": 0,
    "ALUMODEREG": 0,
    "CARRYINREG": 0,
    "CARRYINSELREG": 0,
}
"""Those of a chain; a product has others for A and C."""

ENABLES = ("A1", "A2", "B1", "B2", "C", "M", "P", "ALUMODE", "CARRYIN", "CTRL", "INMODE")
RESETS = ("A", "B", "C", "D", "M", "P", "ALLCARRYIN", "ALUMODE", "CTRL", "INMODE")
PORT_A_WIDTH = 30
INPUTS = {
    "A": PORT_A_WIDTH,
    "B": B_WIDTH,
    "C": P_WIDTH,
    "D": A_WIDTH,
    "CED": 1,
    "CEAD": 1,
    "PCIN": P_WIDTH,
    "INMODE": 5,
    "OPMODE": 9,
    "ALUMODE": 4,
    "CARRYIN": 1,
    "CARRYINSEL": 3,
    # Cascades that come from no other slice.
    "ACIN": PORT_A_WIDTH,
    "BCIN": B_WIDTH,
    "CARRYCASCIN": 1,
    "MULTSIGNIN": 1,
}
"""Widths of the inputs that differ from slice to slice."""


def build_packed_chain(chain: PackedChain) -> Module:
    """Build one DSP48E2 per slice, the accumulator cascaded from each to the next."""
    m = Module()
    rows, packing = chain.parameters["rows"], chain.parameters["packing"]
    word = chain.word
    d = Signal(A_WIDTH)
    p = Signal(P_WIDTH)
    m.d.comb += [d.eq(word), chain.o.eq(p[packing.shift :])]
    width = packing.operand_width
    cascade: Signal | None = None
    for k in range(rows):
        pcout = Signal(P_WIDTH, name=f"pcout_{k}")
        m.submodules[f"slice_{k}"] = _slice(
            ATTRIBUTES,
            rnd=packing.biases(rows) << packing.shift if cascade is None else 0,
            output=("PCOUT", pcout) if k < rows - 1 else ("P", p),
            A=Const(-packing.offsets, PORT_A_WIDTH),
            B=Cat(Const(0, packing.shift), chain.i[k * width : (k + 1) * width]),
            D=d,
            CED=chain.i_load[k],
            CEAD=chain.i_swap[k],
            PCIN=Const(0, P_WIDTH) if cascade is None else cascade,
            INMODE=Const(D_PLUS_A, 5),
            OPMODE=Const(XY_IS_M | (W_IS_RND if cascade is None else Z_IS_PCIN), 9),
        )
        cascade = pcout
    return m


def build_product(product: Product) -> Module:
    """Build one DSP48E2 with all its registers."""
    m = Module()
    subtracts = product.parameters["c"] is not None
    # Narrower operands are extended by their sign, unsigned ones by zeros.
    a = Signal(signed(PORT_A_WIDTH))
    b = Signal(signed(B_WIDTH))
    c = Signal(signed(P_WIDTH))
    p = Signal(P_WIDTH)
    m.d.comb += [a.eq(product.i_a), b.eq(product.i_b), product.o.eq(p[: len(product.o)])]
    if subtracts:
        m.d.comb += c.eq(product.i_c)
    own = {"AMULTSEL": "A", "AREG": 1, "ACASCREG": 1, "CREG": int(subtracts)}
    m.submodules.slice = _slice(
        ATTRIBUTES | own,
        rnd=product.parameters["constant"],
        output=("P", p),
        A=a,
        B=b,
        C=c if subtracts else Const(0, P_WIDTH),
        OPMODE=Const(XY_IS_M | (Z_IS_C if subtracts else W_IS_RND), 9),
        ALUMODE=Const(Z_MINUS_REST if subtracts else 0, 4),
    )
    return m


def _slice(
    attributes: dict[str, object], *, rnd: int, output: tuple[str, Signal], **inputs: ValueLike
) -> Instance:
    """Return a slice. Inputs that are not given are 0."""
    name, value = output
    return Instance(
        "DSP48E2",
        **{f"p_{name}": value for name, value in attributes.items()},
        p_RND=Const(rnd, P_WIDTH),
        **{f"i_CE{name}": Const(1, 1) for name in ENABLES},
        **{f"i_RST{name}": Const(0, 1) for name in RESETS},
        i_CLK=ClockSignal(),
        **{f"i_{name}": inputs.get(name, Const(0, width)) for name, width in INPUTS.items()},
        **{f"o_{name}": value},
    )
