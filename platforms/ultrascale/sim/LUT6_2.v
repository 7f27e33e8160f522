// A look-up table with two outputs (UG574): O6 is a function of all six inputs, O5 the lower half
// of its table.
module LUT6_2 #(
    parameter [63:0] INIT = 64'h0
) (
    output O6,
    output O5,
    input I0,
    input I1,
    input I2,
    input I3,
    input I4,
    input I5
);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule
