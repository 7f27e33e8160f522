"""AMD UltraScale and UltraScale+: their primitives, and what is built from them.

Sources: UG574 (CLB: LUT6_2, CARRY8, RAM32M16) and UG579 (DSP48E2), AMD's user guides.
"""

from .target import UltraScale

__all__ = ["UltraScale"]
