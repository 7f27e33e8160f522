// A memory of 32 words in eight look-up tables (UG574): eight ports that read two bits each without
// a clock, and write all to the address of port H.
module RAM32M16 #(
    parameter [63:0] INIT_A = 64'h0,
    parameter [63:0] INIT_B = 64'h0,
    parameter [63:0] INIT_C = 64'h0,
    parameter [63:0] INIT_D = 64'h0,
    parameter [63:0] INIT_E = 64'h0,
    parameter [63:0] INIT_F = 64'h0,
    parameter [63:0] INIT_G = 64'h0,
    parameter [63:0] INIT_H = 64'h0,
    parameter [0:0] IS_WCLK_INVERTED = 1'b0
) (
    output [1:0] DOA,
    output [1:0] DOB,
    output [1:0] DOC,
    output [1:0] DOD,
    output [1:0] DOE,
    output [1:0] DOF,
    output [1:0] DOG,
    output [1:0] DOH,
    input [4:0] ADDRA,
    input [4:0] ADDRB,
    input [4:0] ADDRC,
    input [4:0] ADDRD,
    input [4:0] ADDRE,
    input [4:0] ADDRF,
    input [4:0] ADDRG,
    input [4:0] ADDRH,
    input [1:0] DIA,
    input [1:0] DIB,
    input [1:0] DIC,
    input [1:0] DID,
    input [1:0] DIE,
    input [1:0] DIF,
    input [1:0] DIG,
    input [1:0] DIH,
    input WCLK,
    input WE
);
  reg [15:0] words[0:31];
  integer k;

  initial
    for (k = 0; k < 32; k = k + 1)
      words[k] = {
        INIT_H[2*k+:2],
        INIT_G[2*k+:2],
        INIT_F[2*k+:2],
        INIT_E[2*k+:2],
        INIT_D[2*k+:2],
        INIT_C[2*k+:2],
        INIT_B[2*k+:2],
        INIT_A[2*k+:2]
      };

  wire clk = WCLK ^ IS_WCLK_INVERTED;

  always @(posedge clk) if (WE) words[ADDRH] <= {DIH, DIG, DIF, DIE, DID, DIC, DIB, DIA};

  assign DOA = words[ADDRA][1:0];
  assign DOB = words[ADDRB][3:2];
  assign DOC = words[ADDRC][5:4];
  assign DOD = words[ADDRD][7:6];
  assign DOE = words[ADDRE][9:8];
  assign DOF = words[ADDRF][11:10];
  assign DOG = words[ADDRG][13:12];
  assign DOH = words[ADDRH][15:14];
endmodule
