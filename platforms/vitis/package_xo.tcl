# Makes the Vitis kernel object @{top}.xo:
#
#     vivado -mode batch -source package_xo.tcl
#
# The only files that it reads are the Verilog sources and kernel.xml beside it. What it makes goes
# into the folder where Vivado was started.

# 2020.2 is the version whose commands these are (UG1393 2020.2, UG835 2020.2).
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
set masters {@{masters}}
# Name, offset, bits, and for an address in memory the port through which it is reached.
set arguments {@{arguments}}

set here [file dirname [file normalize [info script]]]
set root [file dirname $here]
set ip   [file normalize ip]
set xo   [file normalize $top.xo]

# The design, as a project of its own.
create_project -force -part $part package [file normalize project]
foreach source $sources {
    add_files -norecurse [file join $root $source]
}
set_property top $top [current_fileset]
update_compile_order -fileset sources_1

# The IP: its bus interfaces are found by the names of the pins.
ipx::package_project -root_dir $ip -vendor @{vendor} -library @{library} -taxonomy /KernelIP \
    -import_files -set_current true -force
set core [ipx::current_core]
set_property name $top $core
set_property version @{version} $core
set_property display_name "$top, an attention kernel" $core
foreach {pin kind} {ap_clk clock ap_rst_n reset interrupt interrupt} {
    if {[llength [ipx::get_bus_interfaces $pin -of_objects $core]] == 0} {
        ipx::infer_bus_interface $pin xilinx.com:signal:${kind}_rtl:1.0 $core
    }
}
foreach bus [concat s_axi_control $masters] {
    if {[llength [ipx::get_bus_interfaces $bus -of_objects $core]] == 0} {
        error "Vivado must find the bus $bus among the pins of $top, and has not"
    }
    ipx::associate_bus_interfaces -busif $bus -clock ap_clk $core
}
ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n $core

# Its registers: package_xo checks that each address says through which port it is reached.
set map [ipx::add_memory_map -quiet s_axi_control $core]
set_property slave_memory_map_ref s_axi_control \
    [ipx::get_bus_interfaces s_axi_control -of_objects $core]
set block [ipx::add_address_block -quiet reg0 $map]
set_property range 4096 $block
foreach {name offset} {CTRL 0x0 GIER 0x4 IP_IER 0x8 IP_ISR 0xC} {
    set register [ipx::add_register -quiet $name $block]
    set_property address_offset $offset $register
    set_property size 32 $register
}
foreach argument $arguments {
    lassign [split $argument /] name offset bits port
    set register [ipx::add_register -quiet $name $block]
    set_property address_offset $offset $register
    set_property size $bits $register
    if {$port ne "-"} {
        set parameter [ipx::add_register_parameter -quiet ASSOCIATED_BUSIF $register]
        set_property value $port $parameter
    }
}

# The kernel object.
set_property sdx_kernel true $core
set_property sdx_kernel_type rtl $core
set_property supported_families {} $core
set_property auto_family_support_level level_2 $core
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity -kernel $core
ipx::save_core $core
close_project -delete
package_xo -force -xo_path $xo -kernel_name $top -ctrl_protocol ap_ctrl_chain \
    -ip_directory $ip -kernel_xml [file join $here kernel.xml]
puts "PASS: $xo"
