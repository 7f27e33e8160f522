# The clock, @{mhz} MHz. Out of context it has no source: Vivado assumes one at the port.
create_clock -name @{clock} -period @{period} [get_ports @{clock}]
