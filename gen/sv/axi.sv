// What stands at the pins of a kernel under test: a memory at each AXI4 port, and a host at the AXI4-Lite one.
//
// All of it looks at pins at the rising edge of "tick", a little before the rising edge of the kernel's clock, and
// changes pins at the falling edge, half a cycle later: so nothing depends on who comes first at an edge, be the kernel
// source or a routed netlist. Files are read from +vectors=DIR, by default "vectors" beside the place that the
// simulation runs in.

// A memory of one channel, with "random" stalls that are the same in every run. Reads and writes are answered in
// order, LATENCY cycles later, up to QUEUE of each at a time. BEFORE is what it holds at first, where it says nothing
// GUARD in every byte; AFTER is what has changed when "check" is called.
module qkloom_axi_memory #(
    parameter DATA = 8,
    parameter ADDRESS = 64,
    parameter ID = 1,
    parameter DEPTH = 1,
    parameter [ADDRESS-1:0] BASE = 0,
    parameter BEFORE = "",
    parameter AFTER = "",
    parameter [7:0] GUARD = 8'ha5,
    parameter [15:0] SEED = 16'h1,
    parameter LATENCY = 24,
    parameter QUEUE = 16
) (
    input tick,
    input rst_n,
    input [ID-1:0] arid,
    input [ADDRESS-1:0] araddr,
    input [7:0] arlen,
    input [2:0] arsize,
    input [1:0] arburst,
    input arvalid,
    output reg arready,
    output reg [ID-1:0] rid,
    output reg [DATA-1:0] rdata,
    output reg [1:0] rresp,
    output reg rlast,
    output reg rvalid,
    input rready,
    input [ID-1:0] awid,
    input [ADDRESS-1:0] awaddr,
    input [7:0] awlen,
    input [2:0] awsize,
    input [1:0] awburst,
    input awvalid,
    output reg awready,
    input [DATA-1:0] wdata,
    input [DATA/8-1:0] wstrb,
    input wlast,
    input wvalid,
    output reg wready,
    output reg [ID-1:0] bid,
    output reg [1:0] bresp,
    output reg bvalid,
    input bready
);
  localparam BYTES = DATA / 8;
  localparam [2:0] SIZE = $clog2(BYTES);
  localparam WORDS = DATA / 32;

  reg [DATA-1:0] memory[0:DEPTH-1];
  reg [DATA-1:0] wanted[0:DEPTH-1];

  // Bursts that were taken: number of the first beat, beats less one, ID, and when to answer.
  integer ar_first[0:QUEUE-1];
  integer ar_len[0:QUEUE-1];
  integer ar_due[0:QUEUE-1];
  reg [ID-1:0] ar_id[0:QUEUE-1];
  integer aw_first[0:QUEUE-1];
  integer aw_len[0:QUEUE-1];
  reg [ID-1:0] aw_id[0:QUEUE-1];
  integer b_due[0:QUEUE-1];
  reg [ID-1:0] b_id[0:QUEUE-1];
  // How many came and went; places are these modulo QUEUE.
  integer ar_in = 0, ar_out = 0, aw_in = 0, aw_out = 0, b_in = 0, b_out = 0;
  integer r_beat = 0, w_beat = 0;

  // Pins as they will be from the falling edge on.
  reg next_arready = 0, next_awready = 0, next_wready = 0, next_rvalid = 0, next_bvalid = 0;
  reg next_rlast = 0;
  reg [DATA-1:0] next_rdata = 0;
  reg [ID-1:0] next_rid = 0, next_bid = 0;

  // What waited in the cycle before, and must still be there.
  reg ar_waits = 0, aw_waits = 0, w_waits = 0;
  reg [ID+ADDRESS+12:0] ar_held = 0, aw_held = 0;
  reg [DATA+BYTES:0] w_held = 0;

  integer cycle = 0;
  integer k;
  reg [15:0] random = SEED;
  reg [8*256-1:0] folder;  // a string variable crashes Icarus 11

  initial begin
    {arready, awready, wready, rvalid, bvalid, rlast} = 0;
    {rid, rdata, rresp, bid, bresp} = 0;
    for (k = 0; k < DEPTH; k = k + 1) begin
      memory[k] = {BYTES{GUARD}};
      wanted[k] = {BYTES{GUARD}};
    end
    if (!$value$plusargs("vectors=%s", folder)) folder = "vectors";
    if (BEFORE != "") begin
      $readmemh({folder, "/", BEFORE}, memory);
      $readmemh({folder, "/", BEFORE}, wanted);
    end
    if (AFTER != "") $readmemh({folder, "/", AFTER}, wanted);
  end

  // Return the number of a burst's first beat, if it keeps the rules of AXI and stays in the memory.
  function integer checked(input [ADDRESS-1:0] address, input [7:0] len, input [2:0] size,
                           input [1:0] burst);
    reg [ADDRESS-1:0] offset;
    begin
      offset = address - BASE;
      if ((^{address, len, size, burst}) === 1'bx)
        $fatal(1, "FAIL: %m: a burst has unknown bits: %h, %h", address, len);
      if (burst != 2'b01 || size != SIZE)
        $fatal(1, "FAIL: %m: the burst at %h is not incrementing, or not of whole beats", address);
      if (address % BYTES != 0 || address[11:0] + (len + 1) * BYTES > 4096)
        $fatal(1, "FAIL: %m: the burst at %h crosses 4 KB, or begins within a beat", address);
      if (address < BASE || offset / BYTES + len >= DEPTH)
        $fatal(1, "FAIL: %m: the burst at %h leaves the memory", address);
      checked = offset / BYTES;
    end
  endfunction

  // Compare all of the memory, word by word; stop at the first one that is wrong.
  task check;
    integer beat, word;
    begin
      for (beat = 0; beat < DEPTH; beat = beat + 1)
        for (word = 0; word < WORDS; word = word + 1)
          if (memory[beat][32*word+:32] !== wanted[beat][32*word+:32])
            $fatal(1, "FAIL: %m: %h must hold %h, not %h", BASE + beat * BYTES + 4 * word,
                   wanted[beat][32*word+:32], memory[beat][32*word+:32]);
    end
  endtask

  always @(posedge tick) begin
    cycle  <= cycle + 1;
    random <= {random[14:0], random[15] ^ random[13] ^ random[12] ^ random[10]};
    if (rst_n) begin
      if ((^{arvalid, awvalid, wvalid, rready, bready}) === 1'bx)
        $fatal(1, "FAIL: %m: a valid or ready is unknown");
      if (ar_waits && (!arvalid || ar_held !== {arid, araddr, arlen, arsize, arburst}) ||
          aw_waits && (!awvalid || aw_held !== {awid, awaddr, awlen, awsize, awburst}) ||
          w_waits && (!wvalid || w_held !== {wdata, wstrb, wlast}))
        $fatal(1, "FAIL: %m: a valid fell, or a payload changed, before it was taken");
      ar_waits <= arvalid && !arready;
      aw_waits <= awvalid && !awready;
      w_waits  <= wvalid && !wready;
      ar_held  <= {arid, araddr, arlen, arsize, arburst};
      aw_held  <= {awid, awaddr, awlen, awsize, awburst};
      w_held   <= {wdata, wstrb, wlast};

      if (arvalid && arready) begin
        ar_first[ar_in%QUEUE] = checked(araddr, arlen, arsize, arburst);
        ar_len[ar_in%QUEUE]   = arlen;
        ar_id[ar_in%QUEUE]    = arid;
        ar_due[ar_in%QUEUE]   = cycle + LATENCY;
        ar_in = ar_in + 1;
      end
      if (rvalid && rready) next_rvalid = 0;
      // What stands at R when nothing is there is the complement of what came last.
      if (!next_rvalid) begin
        if (rvalid && rready) next_rdata = ~next_rdata;
        if (ar_out != ar_in && cycle >= ar_due[ar_out%QUEUE] && random[2:0] != 0) begin
          next_rvalid = 1;
          next_rid    = ar_id[ar_out%QUEUE];
          next_rdata  = memory[ar_first[ar_out%QUEUE]+r_beat];
          next_rlast  = r_beat == ar_len[ar_out%QUEUE];
          r_beat      = r_beat + 1;
          if (next_rlast) begin
            r_beat = 0;
            ar_out = ar_out + 1;
          end
        end
      end

      if (wvalid && wready) begin
        if ((^wstrb) === 1'bx || wlast !== (w_beat == aw_len[aw_out%QUEUE]))
          $fatal(1, "FAIL: %m: strobes are unknown, or last is wrong, in a burst of %0d beats",
                 aw_len[aw_out%QUEUE] + 1);
        for (k = 0; k < BYTES; k = k + 1)
          if (wstrb[k]) memory[aw_first[aw_out%QUEUE]+w_beat][8*k+:8] = wdata[8*k+:8];
        w_beat = w_beat + 1;
        if (wlast) begin
          b_id[b_in%QUEUE]  = aw_id[aw_out%QUEUE];
          b_due[b_in%QUEUE] = cycle + LATENCY;
          b_in   = b_in + 1;
          aw_out = aw_out + 1;
          w_beat = 0;
        end
      end
      if (awvalid && awready) begin
        aw_first[aw_in%QUEUE] = checked(awaddr, awlen, awsize, awburst);
        aw_len[aw_in%QUEUE]   = awlen;
        aw_id[aw_in%QUEUE]    = awid;
        aw_in = aw_in + 1;
      end
      if (bvalid && bready) next_bvalid = 0;
      if (!next_bvalid && b_out != b_in && cycle >= b_due[b_out%QUEUE]) begin
        next_bvalid = 1;
        next_bid    = b_id[b_out%QUEUE];
        b_out       = b_out + 1;
      end
      next_arready = ar_in - ar_out < QUEUE && random[4:3] != 0;
      next_awready = aw_in - b_out < QUEUE && random[6:5] != 0;
      next_wready  = aw_in != aw_out && random[9:7] != 0;
    end
  end

  always @(negedge tick) begin
    arready <= next_arready;
    awready <= next_awready;
    wready  <= next_wready;
    rvalid  <= next_rvalid;
    rid     <= next_rid;
    rdata   <= next_rdata;
    rlast   <= next_rlast;
    bvalid  <= next_bvalid;
    bid     <= next_bid;
  end
endmodule

// A host: for each call it writes registers, starts, waits for done, reads what became of it, and takes note of it.
// The words of FILE are address (high) and value (low) of a register, WRITES of them for each call.
module qkloom_axi_host #(
    parameter ADDRESS = 12,
    parameter CALLS = 1,
    parameter WRITES = 1,
    parameter FILE = "",
    parameter [ADDRESS-1:0] CONTROL = 0,
    parameter [ADDRESS-1:0] GLOBAL_INTERRUPT_ENABLE = 0,
    parameter [ADDRESS-1:0] INTERRUPT_ENABLE = 0,
    parameter [ADDRESS-1:0] INTERRUPT_STATUS = 0,
    parameter [ADDRESS-1:0] VERSION = 0,
    parameter [ADDRESS-1:0] ERROR = 0,
    parameter [ADDRESS-1:0] CALLS_DONE = 0,
    parameter [31:0] VERSION_IS = 0
) (
    input tick,
    input rst_n,
    input interrupt,
    output reg [ADDRESS-1:0] awaddr,
    output reg [2:0] awprot,
    output reg awvalid,
    input awready,
    output reg [31:0] wdata,
    output reg [3:0] wstrb,
    output reg wvalid,
    input wready,
    input [1:0] bresp,
    input bvalid,
    output reg bready,
    output reg [ADDRESS-1:0] araddr,
    output reg [2:0] arprot,
    output reg arvalid,
    input arready,
    input [31:0] rdata,
    input [1:0] rresp,
    input rvalid,
    output reg rready,
    output reg done
);
  localparam START = 32'h01, DONE = 32'h02, IDLE = 32'h04, CONTINUE = 32'h10;

  reg [ADDRESS+31:0] writes[0:CALLS*WRITES-1];
  reg [31:0] value;
  integer call, k;
  reg [8*256-1:0] folder;  // a string variable crashes Icarus 11

  task write(input [ADDRESS-1:0] address, input [31:0] word);
    begin
      @(negedge tick);
      awaddr  = address;
      wdata   = word;
      awvalid = 1;
      wvalid  = 1;
      bready  = 1;
      while (bready) begin
        @(posedge tick);
        // What this edge sees, the edge of the kernel's clock behind it takes.
        if ((^{awready, wready, bvalid}) === 1'bx) $fatal(1, "FAIL: %m: a valid or ready is unknown");
        k = {29'd0, bvalid, wvalid && wready, awvalid && awready};
        if (bvalid && bresp !== 0) $fatal(1, "FAIL: %m: %h was answered by %h", address, bresp);
        @(negedge tick);
        if (k[0]) awvalid = 0;
        if (k[1]) wvalid = 0;
        if (k[2]) bready = 0;
      end
    end
  endtask

  task read(input [ADDRESS-1:0] address, output [31:0] word);
    begin
      @(negedge tick);
      araddr  = address;
      arvalid = 1;
      rready  = 1;
      while (rready) begin
        @(posedge tick);
        if ((^{arready, rvalid}) === 1'bx) $fatal(1, "FAIL: %m: a valid or ready is unknown");
        k = {30'd0, rvalid, arvalid && arready};
        if (rvalid) word = rdata;
        if (rvalid && rresp !== 0) $fatal(1, "FAIL: %m: %h was answered by %h", address, rresp);
        @(negedge tick);
        if (k[0]) arvalid = 0;
        if (k[1]) rready = 0;
      end
    end
  endtask

  task expect_read(input [ADDRESS-1:0] address, input [31:0] word);
    begin
      read(address, value);
      if (value !== word)
        $fatal(1, "FAIL: %m: call %0d: register %h must be %h, not %h", call, address, word, value);
    end
  endtask

  initial begin
    {awaddr, awprot, awvalid, wdata, wvalid, bready, araddr, arprot, arvalid, rready, done} = 0;
    wstrb = 4'hf;
    call  = 0;
    if (!$value$plusargs("vectors=%s", folder)) folder = "vectors";
    $readmemh({folder, "/", FILE}, writes);
    wait (rst_n === 1);
    repeat (4) @(posedge tick);
    expect_read(VERSION, VERSION_IS);
    write(GLOBAL_INTERRUPT_ENABLE, 1);
    write(INTERRUPT_ENABLE, 1);
    for (call = 0; call < CALLS; call = call + 1) run;
    expect_read(CONTROL, IDLE);
    expect_read(CALLS_DONE, CALLS);
    done = 1;
  end

  task run;
    integer n;
    begin
      for (n = call * WRITES; n < (call + 1) * WRITES; n = n + 1)
        write(writes[n][ADDRESS+31:32], writes[n][31:0]);
      write(CONTROL, START);
      value = 0;
      while ((value & DONE) === 0) begin
        repeat (16) @(posedge tick);
        read(CONTROL, value);
      end
      repeat (4) @(posedge tick);
      if (interrupt !== 1) $fatal(1, "FAIL: %m: call %0d is done without an interrupt", call);
      expect_read(ERROR, 0);
      // The continue comes before the clear: status is set as long as done is there.
      write(CONTROL, CONTINUE);
      write(INTERRUPT_STATUS, 1);
      repeat (4) @(posedge tick);
      if (interrupt !== 0) $fatal(1, "FAIL: %m: the interrupt of call %0d does not end", call);
    end
  endtask
endmodule
