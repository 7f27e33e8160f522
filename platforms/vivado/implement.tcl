# Synthesizes, places and routes @{top} out of context, and reports:
#
#     vivado -mode batch -source implement.tcl
#
# Reports, checkpoints and netlist go into the folder where Vivado was started. It ends with an
# error when a net is not routed or the clock is too fast for a path.

# 2020.2 is the version whose commands these are (UG835 2020.2).
set oldest 2020.2
if {[info commands version] eq ""} {
    error "This script must be run by Vivado $oldest or newer, not by another Tcl interpreter"
}
if {![regexp {^\d+\.\d+} [version -short] found] || [package vcompare $found $oldest] < 0} {
    error "Vivado must be $oldest or newer, not [version -short]"
}

set top     @{top}
set part    @{part}
set sources {@{sources}}

set here [file dirname [file normalize [info script]]]
set root [file dirname $here]

proc report {stage} {
    global top
    report_utilization -file ${top}_${stage}_utilization.rpt
    report_utilization -hierarchical -file ${top}_${stage}_utilization_hierarchical.rpt
    report_timing_summary -max_paths 20 -file ${top}_${stage}_timing.rpt
}

foreach source $sources {
    read_verilog [file join $root $source]
}
read_xdc -mode out_of_context [file join $here clock.xdc]

# The hierarchy stays: blocks are placed by name, and looked for in reports.
synth_design -top $top -part $part -mode out_of_context -flatten_hierarchy none
read_xdc -mode out_of_context [file join $here floorplan.xdc]
write_checkpoint -force ${top}_synth.dcp
report synth

opt_design
place_design
phys_opt_design
write_checkpoint -force ${top}_place.dcp
report place

route_design
phys_opt_design
write_checkpoint -force ${top}_route.dcp
write_verilog -force -mode funcsim ${top}_route.v
report route
report_clock_utilization -file ${top}_route_clocks.rpt
report_high_fanout_nets -max_nets 50 -file ${top}_route_fanout.rpt
report_route_status -file ${top}_route_status.rpt
report_drc -file ${top}_route_drc.rpt
report_methodology -file ${top}_route_methodology.rpt
report_power -file ${top}_route_power.rpt

set status [report_route_status -return_string]
if {![regexp {nets with routing errors[.\s]*:\s*(\d+)} $status line wrong] || $wrong > 0} {
    error "FAIL: not all nets of $top are routed, see ${top}_route_status.rpt"
}
set slack [get_property SLACK [get_timing_paths -delay_type max]]
if {$slack < 0} {
    error "FAIL: the slowest path of $top misses the clock by [expr {-$slack}] ns"
}
set hold [get_property SLACK [get_timing_paths -delay_type min]]
if {$hold < 0} {
    error "FAIL: the fastest path of $top comes [expr {-$hold}] ns too early, see ${top}_route_timing.rpt"
}
puts "PASS: $top is routed, $slack ns before the clock"
