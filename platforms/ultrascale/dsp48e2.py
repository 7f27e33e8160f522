"""Chains of DSP48E2 slices: the one place where their attributes and control codes stand.

All references are to chapter 2 of UG579, the UltraScale Architecture DSP Slice User Guide, v1.9.

Registers in use ("A, B, C, D Inputs and Registers"): one on the operand (``BREG = 1``, which is
B2), D as the shadow (enabled by CED), AD as the active word (enabled by CEAD), M and P. The A port
is the constant that turns offset binary into two's complement, so it needs no register.

What the multiplier sees (INMODE, "Dual B, D, and Pre-Adder Registers and Multiplexers")::

    AMULTSEL = "AD", BMULTSEL = "B", PREADDINSEL = "A"     multiply AD by B
    INMODE[4] = 0     B2 is the multiplier's B
    INMODE[3] = 0     AD = D + A, not D - A
    INMODE[2] = 1     D is added, not 0
    INMODE[1] = 0     A is added, not 0
    INMODE[0] = 0     A comes from the path through A2, here the port itself

What the adder adds (OPMODE, "W, X, Y, and Z Multiplexers"; "ALUMODE"; "Carry Input Logic")::

    OPMODE[8:7] = 10  W is the attribute RND    first slice of a chain: the biases
                  00  W is 0                    others
    OPMODE[6:4] = 000 Z is 0                    first slice
                  001 Z is PCIN                 others: P of the slice below, over the cascade
    OPMODE[3:0] = 0101  X and Y together are M
    ALUMODE = 0000    P = Z + W + X + Y + CIN
    CARRYINSEL = 000  CIN is the port CARRYIN, here 0

Control inputs are constants, so their registers are off (``OPMODEREG = 0`` and so on). Clock
enables of registers that are off or always load are 1, resets are 0.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal

from ...rtl.matrix.dsp import PackedChain
from ...rtl.matrix.packing import A_WIDTH, B_WIDTH, P_WIDTH

__all__ = ["build_packed_chain"]

W_IS_RND = 0b10_000_00_00
Z_IS_PCIN = 0b00_001_00_00
XY_IS_M = 0b00_000_01_01
D_PLUS_A = 0b00100

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

ENABLES = ("A1", "A2", "B1", "B2", "C", "M", "P", "ALUMODE", "CARRYIN", "CTRL", "INMODE")
RESETS = ("A", "B", "C", "D", "M", "P", "ALLCARRYIN", "ALUMODE", "CTRL", "INMODE")


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
        opmode = XY_IS_M | (W_IS_RND if cascade is None else Z_IS_PCIN)
        ports = {
            "i_CLK": ClockSignal(),
            "i_A": Const(-packing.offsets, 30),
            "i_B": Cat(Const(0, packing.shift), chain.i[k * width : (k + 1) * width]),
            "i_C": Const(0, P_WIDTH),
            "i_D": d,
            "i_CED": chain.i_load[k],
            "i_CEAD": chain.i_swap[k],
            "i_PCIN": Const(0, P_WIDTH) if cascade is None else cascade,
            "i_INMODE": Const(D_PLUS_A, 5),
            "i_OPMODE": Const(opmode, 9),
            "i_ALUMODE": Const(0, 4),
            "i_CARRYIN": Const(0, 1),
            "i_CARRYINSEL": Const(0, 3),
            # Cascades that come from no other slice.
            "i_ACIN": Const(0, 30),
            "i_BCIN": Const(0, B_WIDTH),
            "i_CARRYCASCIN": Const(0, 1),
            "i_MULTSIGNIN": Const(0, 1),
        }
        if k < rows - 1:
            ports["o_PCOUT"] = pcout
        else:
            ports["o_P"] = p
        m.submodules[f"slice_{k}"] = Instance(
            "DSP48E2",
            **{f"p_{name}": value for name, value in ATTRIBUTES.items()},
            p_RND=Const(packing.biases(rows) << packing.shift if cascade is None else 0, P_WIDTH),
            **{f"i_CE{name}": Const(1, 1) for name in ENABLES},
            **{f"i_RST{name}": Const(0, 1) for name in RESETS},
            **ports,
        )
        cascade = pcout
    return m
