// A model of AMD's DSP48E2 slice as far as this project uses it, written from UG579 v1.9.
//
// Port and attribute names, and defaults, are the primitive's own. What is not modelled is refused:
// by attributes, an instance of a module that does not exist; by control inputs, an unknown P and,
// in simulation, an error. Registers are 0 at power-up.

`default_nettype none

module DSP48E2 #(
    parameter A_INPUT = "DIRECT",
    parameter B_INPUT = "DIRECT",
    parameter AMULTSEL = "A",
    parameter BMULTSEL = "B",
    parameter PREADDINSEL = "A",
    parameter USE_MULT = "MULTIPLY",
    parameter USE_SIMD = "ONE48",
    parameter USE_PATTERN_DETECT = "NO_PATDET",
    parameter integer AREG = 1,
    parameter integer ACASCREG = 1,
    parameter integer BREG = 1,
    parameter integer BCASCREG = 1,
    parameter integer CREG = 1,
    parameter integer DREG = 1,
    parameter integer ADREG = 1,
    parameter integer MREG = 1,
    parameter integer PREG = 1,
    parameter integer INMODEREG = 1,
    parameter integer OPMODEREG = 1,
    parameter integer ALUMODEREG = 1,
    parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1,
    parameter [47:0] RND = 48'h0
) (
    input wire CLK,
    input wire [29:0] A,
    input wire [29:0] ACIN,
    input wire [17:0] B,
    input wire [17:0] BCIN,
    input wire [47:0] C,
    input wire [26:0] D,
    input wire [47:0] PCIN,
    input wire [4:0] INMODE,
    input wire [8:0] OPMODE,
    input wire [3:0] ALUMODE,
    input wire CARRYIN,
    input wire [2:0] CARRYINSEL,
    input wire CARRYCASCIN,
    input wire MULTSIGNIN,
    input wire CEA1,
    input wire CEA2,
    input wire CEB1,
    input wire CEB2,
    input wire CEC,
    input wire CED,
    input wire CEAD,
    input wire CEM,
    input wire CEP,
    input wire CEALUMODE,
    input wire CECARRYIN,
    input wire CECTRL,
    input wire CEINMODE,
    input wire RSTA,
    input wire RSTB,
    input wire RSTC,
    input wire RSTD,
    input wire RSTM,
    input wire RSTP,
    input wire RSTALLCARRYIN,
    input wire RSTALUMODE,
    input wire RSTCTRL,
    input wire RSTINMODE,
    output wire [47:0] P,
    output wire [47:0] PCOUT
);
    generate
        if (A_INPUT != "DIRECT" || B_INPUT != "DIRECT") DSP48E2_model_has_no_operand_cascade none ();
        if ((AMULTSEL != "A" && AMULTSEL != "AD") || BMULTSEL != "B" || PREADDINSEL != "A")
            DSP48E2_model_multiplies_A_or_AD_by_B none ();
        if (USE_MULT != "MULTIPLY" || USE_SIMD != "ONE48" || USE_PATTERN_DETECT != "NO_PATDET")
            DSP48E2_model_is_one_multiplier_and_adder none ();
        if ((AREG != 0 && AREG != 1) || ACASCREG != AREG || (CREG != 0 && CREG != 1))
            DSP48E2_model_has_one_register_of_A_C_or_none none ();
        if (BREG != 1 || BCASCREG != 1 || DREG != 1 || ADREG != 1 || MREG != 1 || PREG != 1)
            DSP48E2_model_has_one_register_of_B_D_AD_M_P none ();
        if (INMODEREG != 0 || OPMODEREG != 0 || ALUMODEREG != 0 || CARRYINREG != 0
            || CARRYINSELREG != 0)
            DSP48E2_model_has_no_control_registers none ();
    endgenerate

    reg [29:0] a2 = 0;
    reg [17:0] b2 = 0;
    reg [47:0] c = 0;
    reg [26:0] d = 0;
    reg [26:0] ad = 0;
    reg [44:0] m = 0;
    reg [47:0] p = 0;

    wire [29:0] a_path = AREG == 1 ? a2 : A;
    wire [47:0] c_path = CREG == 1 ? c : C;

    // Pre-adder (INMODE), modulo 2^27.
    wire [26:0] pre_a = INMODE[1] ? 27'd0 : a_path[26:0];
    wire [26:0] pre_d = INMODE[2] ? d : 27'd0;
    wire [26:0] pre = INMODE[3] ? pre_d - pre_a : pre_d + pre_a;
    wire [26:0] factor = AMULTSEL == "AD" ? ad : pre_a;

    // Multiplexers of the adder (OPMODE). X and Y hold halves of the product.
    reg [47:0] w;
    reg [47:0] xy;
    reg [47:0] z;
    always @* begin
        case (OPMODE[8:7])
            2'b00: w = 48'd0;
            2'b01: w = p;
            2'b10: w = RND;
            default: w = c_path;
        endcase
        case (OPMODE[3:0])
            4'b0000: xy = 48'd0;
            4'b0101: xy = {{3{m[44]}}, m};
            default: xy = {48{1'bx}};
        endcase
        case (OPMODE[6:4])
            3'b000: z = 48'd0;
            3'b001: z = PCIN;
            3'b010: z = p;
            3'b011: z = c_path;
            default: z = {48{1'bx}};
        endcase
    end

    // INMODE[0] and INMODE[4] choose A1 and B1, which are not there; other ALUMODEs complement Z or
    // do logic.
    wire known = INMODE[0] === 1'b0 && INMODE[4] === 1'b0
        && (ALUMODE === 4'b0000 || ALUMODE === 4'b0011) && CARRYINSEL === 3'b000;
    wire [47:0] rest = w + xy + {47'd0, CARRYIN};
    wire [47:0] sum = !known ? {48{1'bx}} : ALUMODE[0] ? z - rest : z + rest;

    always @(posedge CLK) begin
        if (RSTA) a2 <= 0;
        else if (CEA2) a2 <= A;
        if (RSTB) b2 <= 0;
        else if (CEB2) b2 <= B;
        if (RSTC) c <= 0;
        else if (CEC) c <= C;
        if (RSTD) d <= 0;
        else if (CED) d <= D;
        if (RSTD) ad <= 0;
        else if (CEAD) ad <= pre;
        if (RSTM) m <= 0;
        else if (CEM) m <= $signed(factor) * $signed(b2);
        if (RSTP) p <= 0;
        else if (CEP) p <= sum;
    end
`ifndef SYNTHESIS
    always @(posedge CLK)
        if (!known) begin
            $display("DSP48E2 model: INMODE %b, ALUMODE %b, CARRYINSEL %b are not modelled in %m",
                     INMODE, ALUMODE, CARRYINSEL);
            $finish;
        end
`endif

    assign P = p;
    assign PCOUT = p;
endmodule

`default_nettype wire
