"""One testbench on every engine."""

from dataclasses import replace

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.stream import Queue
from qkloom.tb.engines import ENGINES, check, check_held, run
from qkloom.tb.errors import RunError
from qkloom.tb.testbench import HELD, Expectation, Stall, Stimulus, Testbench
from qkloom.tb.waves import Waves

NEEDS = {"pysim": [], "cxxrtl": ["compiler"], "verilator": ["compiler", "verilator"]}


@pytest.fixture(params=ENGINES)
def engine(request, require):
    for tool in NEEDS[request.param]:
        require(tool)
    return request.param


def same(a, b):
    """Tell whether two results are alike in all but the engine."""
    assert a.cycles == b.cycles
    assert a.counts == b.counts
    assert a.violations == b.violations
    for name in a.outputs:
        assert np.array_equal(a.outputs[name], b.outputs[name])
    for name in a.transfers:
        assert np.array_equal(a.transfers[name], b.transfers[name])


class TestAllEngines:
    @pytest.mark.parametrize("stall", [0, 0.4, 0.9])
    def test_outputs_and_cycles_are_equal(self, engine, toy, make_toy_bench, stall):
        bench = make_toy_bench(stall=stall, seed=3)
        same(check(toy, bench, engine), run(toy, bench, "pysim"))

    def test_reset_clears_what_was_under_way(self, engine, toy, make_toy_bench):
        # The memories keep what was written, so they are left out.
        bench = make_toy_bench()
        streams = {
            "inputs": {"i": bench.inputs["i"]},
            "outputs": {name: bench.outputs[name] for name in ("o", "o_tap")},
        }
        whole = check(toy, replace(bench, **streams), engine)
        again = check(toy, replace(bench, **streams, aborted_cycles=37, reset_cycles=3), engine)
        same(whole, again)

    def test_design_without_clock(self, engine, wire):
        bench = Testbench(
            inputs={
                "i": Stimulus(np.arange(20), Stall(0.3)),
                "i_token": Stimulus(np.zeros(7, int)),
            },
            outputs={
                "o": Expectation(np.arange(20), Stall(0.3, seed=1)),
                "o_token": Expectation(np.zeros(7, int), Stall(0.5)),
            },
            max_cycles=200,
        )
        result = check(wire, bench, engine)
        same(result, run(wire, bench, "pysim"))
        assert np.array_equal(result.transfers["i"], result.transfers["o"])
        assert result.outputs["o_token"].shape == (7, 0)

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (1, r"on \w+: o withdrew an item that nobody had taken, in cycle 2, and \d+ more$"),
            (2, r"on \w+: o changed an item that nobody had taken, in cycle 3, and \d+ more$"),
        ],
    )
    def test_broken_rules(self, engine, faulty, fault, message):
        bench = Testbench(
            inputs={"i": Stimulus([1, 2, 3])},
            outputs={"o": Expectation(count=3, stall=Stall(0.5, burst=8, seed=3))},
            max_cycles=100,
            levels={"fault": fault},
        )
        with pytest.raises(RunError, match=message) as caught:
            run(faulty, bench, engine)
        with pytest.raises(RunError) as other:
            run(faulty, bench, "pysim")
        same(caught.value.result, other.value.result)

    def test_not_finished(self, engine, faulty):
        bench = Testbench(
            inputs={"i": Stimulus([1, 2, 3])},
            outputs={"o": Expectation(count=4)},
            max_cycles=50,
        )
        message = r"on \w+: not finished after 50 cycles; moved: o 3 of 4$"
        with pytest.raises(RunError, match=message) as caught:
            run(faulty, bench, engine)
        assert caught.value.result.outputs["o"].tolist() == [[1, 0], [2, 0], [3, 0]]

    def test_ready_held_low(self, engine, faulty):
        bench = Testbench(
            inputs={"i": Stimulus([1, 2, 3], Stall(0.9, seed=1))},
            outputs={"o": Expectation(count=3)},
            max_cycles=100,
        )
        first = check_held(faulty, bench, engine)
        assert first == {"o": run(faulty, bench, "pysim").transfers["o"][0]}
        with pytest.raises(RunError, match=r"o, never taken from, does not become valid in 100"):
            check_held(faulty, replace(bench, levels={"fault": 3}), engine)
        with pytest.raises(RunError, match=r"o withdrew an item"):
            check_held(faulty, replace(bench, levels={"fault": 1}), engine)

    def test_waves(self, engine, faulty, tmp_path):
        inside = "TOP.faulty.o" if engine == "verilator" else "o"
        bench = Testbench(
            inputs={"i": Stimulus(np.arange(30), Stall(0.4))},
            outputs={"o": Expectation(np.arange(30), Stall(0.4, seed=1))},
            max_cycles=200,
            reset_cycles=2,
            quiet_cycles=0,
        )
        path = tmp_path / "waves.vcd"
        result = check(faulty, bench, engine, waves=path)
        o = Waves(path).stream(inside)
        moved = np.flatnonzero(o.state("transfer"))
        # The waves begin with the reset.
        assert (moved - 2).tolist() == result.transfers["o"].tolist()


class TestRun:
    def test_cycles_are_counted_from_the_first_to_the_last_transfer(self):
        bench = Testbench(
            inputs={"i": Stimulus([5, 6])}, outputs={"o": Expectation([5, 6])}, max_cycles=9
        )
        result = run(emit(Queue(shape=8, depth=2)), bench, "pysim")
        assert result.transfers["i"].tolist() == [0, 1]
        assert result.transfers["o"].tolist() == [1, 2]
        assert result.cycles == 3
        assert result.unpacked("o").tolist() == [5, 6]

    def test_nothing_to_do_takes_no_cycles(self, wire):
        result = run(wire, Testbench({}, {}, max_cycles=0), "pysim")
        assert result.cycles == 0
        assert result.outputs["o"].shape == (0, 1)

    def test_outputs_of_unknown_number_are_all_taken(self, wire):
        bench = Testbench({"i": Stimulus(np.arange(5000) % 256)}, {}, max_cycles=10_000)
        assert (
            run(wire, bench, "pysim").outputs["o"][:, 0].tolist()
            == bench.inputs["i"].values.tolist()
        )

    def test_outputs_of_unknown_number_need_no_room_beforehand(self, wire, require):
        require("compiler")
        values = np.arange(5000) % 256
        bench = Testbench({"i": Stimulus(values)}, {}, max_cycles=10_000)
        result = run(wire, bench, "cxxrtl")
        assert result.outputs["o"][:, 0].tolist() == values.tolist()
        assert result.cycles == 5000

    def test_progress(self, wire, require):
        require("compiler")
        bench = Testbench(
            {"i": Stimulus(np.zeros(3000, int))}, {"o": Expectation(count=3000)}, max_cycles=9000
        )
        seen = []
        run(wire, bench, "cxxrtl", progress=lambda cycle, share: seen.append((cycle, share)))
        assert seen == sorted(seen)
        assert seen[-1] == (3000, 1.0)

    def test_a_stopped_run_stops(self, wire, require):
        require("compiler")

        def stop(cycle, share):
            raise KeyboardInterrupt

        bench = Testbench({"i": Stimulus([1])}, {"o": Expectation(count=2)}, max_cycles=1 << 40)
        with pytest.raises(KeyboardInterrupt):
            run(wire, bench, "cxxrtl", progress=stop)

    def test_unknown_engine(self, wire):
        with pytest.raises(
            ValueError, match=r"^An engine must be one of pysim, cxxrtl, verilator,"
        ):
            run(wire, Testbench({}, {}, max_cycles=1), "icarus")

    def test_waves_that_cannot_be_written(self, wire, tmp_path):
        path = tmp_path / "missing" / "waves.vcd"
        with pytest.raises(
            ValueError, match=r"waves.vcd must be a file that can be written: No such"
        ):
            run(wire, Testbench({}, {}, max_cycles=1), "pysim", waves=path)

    def test_verilator_needs_verilog(self, wire):
        with pytest.raises(ValueError, match=r"emit it with verilog=True$"):
            run(replace(wire, verilog=None), Testbench({}, {}, max_cycles=1), "verilator")

    def test_held_testbench_never_finishes(self, wire):
        bench = Testbench({"i": Stimulus([1])}, {"o": Expectation([1], HELD)}, max_cycles=20)
        with pytest.raises(
            RunError, match=r"not finished after 20 cycles; moved: i 0 of 1, o 0 of"
        ):
            run(wire, bench, "pysim")
