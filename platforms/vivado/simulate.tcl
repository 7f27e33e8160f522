# Simulates @{top} in its testbench, in Vivado's own simulator (xsim):
#
#     vivado -mode batch -source simulate.tcl -tclargs source
#     vivado -mode batch -source simulate.tcl -tclargs route
#
# "source" takes the generated Verilog; "route" the netlist that implement.tcl left in the folder
# where Vivado was started: functional, without delays. The testbench knows only the pins of @{top},
# and so is the same for both. Primitives are those of Vivado's library, not qkloom's models of them.
# It ends with an error unless the testbench says PASS.

# 2020.2 is the version whose commands these are (UG900 2020.2).
set oldest 2020.2
if {[info commands version] eq ""} {
    error "This script must be run by Vivado $oldest or newer, not by another Tcl interpreter"
}
if {![regexp {^\d+\.\d+} [version -short] found] || [package vcompare $found $oldest] < 0} {
    error "Vivado must be $oldest or newer, not [version -short]"
}

set top       @{top}
set sources   {@{sources}}
set bench     {@{bench}}
set bench_top @{bench_top}

set here   [file dirname [file normalize [info script]]]
set root   [file dirname $here]
set folder [file join $root @{bench_folder}]
set what   [lindex $argv 0]

set design {}
switch -- $what {
    source {
        foreach source $sources {
            lappend design [file join $root $source]
        }
    }
    route {
        set netlist [file normalize ${top}_route.v]
        if {![file exists $netlist]} {
            error "There must be ${top}_route.v in this folder: run implement.tcl here first"
        }
        lappend design $netlist
    }
    default {
        error "Say what to simulate: -tclargs source, or -tclargs route"
    }
}
set around {}
foreach file $bench {
    lappend around [file join $folder $file]
}
# Resets that the device gives to all registers before the first clock edge.
set glbl [file join $::env(XILINX_VIVADO) data verilog src glbl.v]

# The testbench reads its vectors from the folder where it runs.
cd $folder
# One after the other: the netlist says `timescale 1ps, which must not reach the testbench's delays.
exec -ignorestderr xvlog -sv {*}$around >@stdout
exec -ignorestderr xvlog {*}$design $glbl >@stdout
exec -ignorestderr xelab -L unisims_ver -L unimacro_ver -timescale 1ns/1ps -s bench \
    $bench_top glbl >@stdout
set printed [exec -ignorestderr xsim bench -runall]
puts $printed
if {![regexp -line {^PASS} $printed] || [regexp {FAIL} $printed]} {
    error "FAIL: $top ($what) does not do what the testbench expects"
}
