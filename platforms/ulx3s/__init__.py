"""ULX3S: a board with a Lattice ECP5 FPGA, for which free tools make bitstreams."""
