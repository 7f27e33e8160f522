// What stands at the ports of a design under test: one source per input, one sink per output, and a
// memory wherever the design reads one.
//
// Sources and sinks stall at random, each with a generator of its own, so that every run is the same. The words are
// read from +vectors=DIR, by default "vectors" beside the place that the simulation runs in.

// Offers the words of a file in order; once offered, a word stays until it is taken. What stands there
// meanwhile is the complement of the next word: a design that looks at it gives a wrong answer. A steady
// source never stalls; a gated one offers a word when "gate" has reached the word's number in AFTER.
module qkloom_source #(
    parameter WIDTH = 1,
    parameter COUNT = 1,
    parameter FILE = "",
    parameter [15:0] SEED = 16'h1,
    parameter STEADY = 0,
    parameter GATED = 0,
    parameter AFTER = ""
) (
    input clk,
    input rst,
    output reg valid,
    output reg [WIDTH-1:0] payload,
    input ready,
    input [31:0] gate,
    output reg [31:0] moved
);
  reg [WIDTH-1:0] words[0:COUNT-1];
  reg [31:0] after[0:COUNT-1];
  reg [15:0] random = SEED;
  integer next = 0;
  reg [8*256-1:0] folder;  // a string variable crashes Icarus 11

  initial begin
    valid   = 0;
    payload = 0;
    moved   = 0;
    if (!$value$plusargs("vectors=%s", folder)) folder = "vectors";
    $readmemh({folder, "/", FILE}, words);
    if (GATED) $readmemh({folder, "/", AFTER}, after);
  end

  always @(posedge clk) begin
    random <= {random[14:0], random[15] ^ random[13] ^ random[12] ^ random[10]};
    if (!rst && valid && ready) moved <= moved + 1;
    if (!rst && (!valid || ready)) begin
      valid   <= 0;
      payload <= ~words[next < COUNT ? next : 0];
      if (next < COUNT && (STEADY || random[1:0] != 0) && (!GATED || gate >= after[next])) begin
        valid   <= 1;
        payload <= words[next];
        next    <= next + 1;
      end
    end
  end
endmodule

// Takes words and compares each with the next one of the file. Words that differ in their low KEY_WIDTH
// bits may overtake each other: each key has an order of its own. If MASKED, only the bits that are 1 in
// the word's mask count.
module qkloom_sink #(
    parameter WIDTH = 1,
    parameter COUNT = 1,
    parameter FILE = "",
    parameter [15:0] SEED = 16'h1,
    parameter ALWAYS_READY = 0,
    parameter KEY_WIDTH = 0,
    parameter MASKED = 0,
    parameter MASKS = ""
) (
    input clk,
    input rst,
    input valid,
    input [WIDTH-1:0] payload,
    output reg ready,
    output reg done,
    output reg [31:0] moved
);
  localparam KEYS = 1 << KEY_WIDTH;
  localparam KEY_BITS = KEY_WIDTH == 0 ? 1 : KEY_WIDTH;

  reg [WIDTH-1:0] words[0:COUNT-1];
  reg [WIDTH-1:0] masks[0:COUNT-1];
  reg [15:0] random = SEED;
  reg waiting = 0;
  reg [WIDTH-1:0] held = 0;
  integer next[0:KEYS-1];
  integer left[0:KEYS-1];
  integer taken = 0;
  integer k;
  reg [8*256-1:0] folder;  // a string variable crashes Icarus 11

  function integer key_of(input [WIDTH-1:0] word);
    key_of = {{(32 - KEY_BITS) {1'b0}}, word[KEY_BITS-1:0]} & (KEYS - 1);
  endfunction

  // The file lists the words of a key one after the other.
  initial begin
    ready = ALWAYS_READY;
    done  = 0;
    moved = 0;
    if (!$value$plusargs("vectors=%s", folder)) folder = "vectors";
    $readmemh({folder, "/", FILE}, words);
    for (k = 0; k < COUNT; k = k + 1) masks[k] = {WIDTH{1'b1}};
    if (MASKED) $readmemh({folder, "/", MASKS}, masks);
    for (k = 0; k < KEYS; k = k + 1) left[k] = 0;
    for (k = COUNT - 1; k >= 0; k = k - 1) begin
      next[key_of(words[k])] = k;
      left[key_of(words[k])] = left[key_of(words[k])] + 1;
    end
  end

  always @(posedge clk) begin
    random <= {random[14:0], random[15] ^ random[13] ^ random[12] ^ random[10]};
    ready  <= ALWAYS_READY || random[1:0] != 0;
    if (!rst) begin
      if (waiting && !valid) $fatal(1, "FAIL: %m: valid fell before its word was taken");
      if (waiting && payload !== held) $fatal(1, "FAIL: %m: a word changed while it waited");
      waiting <= valid && !ready;
      held    <= payload;
      if (valid === 1'bx) $fatal(1, "FAIL: %m: valid is unknown");
      if (valid && ready) begin
        if (left[key_of(payload)] == 0)
          $fatal(1, "FAIL: %m: word %0d is one too many: %h", taken, payload);
        if ((payload & masks[next[key_of(payload)]]) !==
            (words[next[key_of(payload)]] & masks[next[key_of(payload)]]))
          $fatal(1, "FAIL: %m: word %0d must be %h, not %h", taken,
                 words[next[key_of(payload)]], payload);
        next[key_of(payload)] = next[key_of(payload)] + 1;
        left[key_of(payload)] = left[key_of(payload)] - 1;
        taken = taken + 1;
        moved <= taken;
        done  <= taken == COUNT;
      end
    end
  end
endmodule

// Answers reads in the cycle after each, in the order of a file whose words hold where ("where", high)
// and what is there ("what", low). When nothing is read, the complement of the next answer stands there.
module qkloom_memory #(
    parameter WHERE = 1,
    parameter WHAT = 1,
    parameter COUNT = 1,
    parameter FILE = ""
) (
    input clk,
    input rst,
    input en,
    input [WHERE-1:0] where,
    output reg [WHAT-1:0] what,
    output reg done
);
  reg [WHERE+WHAT-1:0] words[0:COUNT-1];
  integer next = 0;
  reg [8*256-1:0] folder;  // a string variable crashes Icarus 11
  reg [WHERE+WHAT-1:0] word;

  initial begin
    what = 0;
    done = 0;
    if (!$value$plusargs("vectors=%s", folder)) folder = "vectors";
    $readmemh({folder, "/", FILE}, words);
  end

  always @(posedge clk) begin
    word = words[next < COUNT ? next : 0];
    what <= ~word[WHAT-1:0];
    if (!rst && en) begin
      if (next == COUNT) $fatal(1, "FAIL: %m: read %0d is one too many: %h", next, where);
      if (where !== word[WHERE+WHAT-1:WHAT])
        $fatal(1, "FAIL: %m: read %0d must be of %h, not %h", next, word[WHERE+WHAT-1:WHAT], where);
      what <= word[WHAT-1:0];
      next <= next + 1;
      done <= next + 1 == COUNT;
    end
  end
endmodule
