// A carry chain of eight bits (UG574), of one piece only: per bit the carry out is S ? carry in : DI,
// and O is S ^ carry in. CI_TOP is for two chains of four bits.
module CARRY8 #(
    parameter CARRY_TYPE = "SINGLE_CY8"
) (
    output [7:0] CO,
    output [7:0] O,
    input CI,
    input CI_TOP,
    input [7:0] DI,
    input [7:0] S
);
  wire [8:0] carry;
  wire unused = CI_TOP;

  assign carry[0] = CI;
  assign O = S ^ carry[7:0];
  assign CO = carry[8:1];

  genvar k;
  generate
    for (k = 0; k < 8; k = k + 1) begin : bits
      assign carry[k+1] = S[k] ? carry[k] : DI[k];
    end
    if (CARRY_TYPE != "SINGLE_CY8") begin : refused
      // There is no such module: a design that needs the other type does not elaborate.
      CARRY8_of_this_type_is_not_modelled error ();
    end
  endgenerate
endmodule
