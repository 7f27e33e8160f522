"""What goes wrong ends with a code, leaves memory alone, and is over after a reset."""

import pytest

from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import CallError
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image
from qkloom.tb.memory import Fault
from qkloom.tb.stalls import Stall

SHAPE = (2, 2, 17, 33, 16)


@pytest.fixture(autouse=True)
def _needs(require):
    require("compiler")


class Trial:
    """One call in memory, run as often as one likes."""

    def __init__(self, bench, simulation):
        self.bench, self.simulation = bench, simulation
        self.prepared = bench.call(*SHAPE)
        self.image = Image(4)
        self.task = bench.place(self.prepared, self.image)
        self.image.write(bench.memory(simulation))
        self.host = Host(simulation, bench.kernel.registers)

    def run(self, **changes):
        return self.host.call({**self.task.arguments, **changes}, self.prepared.cycle_limit)

    def check_untouched(self):
        assert self.image.changed(self.bench.memory(self.simulation)) == []
        assert self.simulation.violations == ()

    def check_works(self):
        """Run the call, and find it exact; nothing is left of a run before."""
        self.image.write(self.bench.memory(self.simulation))
        self.run()
        assert self.bench.is_exact(self.prepared, self.task, self.simulation)
        self.check_untouched()


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"heads": 0}, Code.HEADS),
            ({"heads": 9}, Code.HEADS),
            ({"kv_heads": 0}, Code.HEADS),
            ({"kv_heads": 9}, Code.HEADS),
            ({"heads": 3, "kv_heads": 2}, Code.HEADS),
            ({"n_q": 0}, Code.QUERIES),
            ({"n_q": 129}, Code.QUERIES),
            ({"n_kv": 0}, Code.KEYS),
            ({"n_kv": 129}, Code.KEYS),
            ({"n_kv": 1 << 31}, Code.KEYS),
            ({"q_start": 1}, Code.START),
            ({"flags": 1, "q_start": 129}, Code.START),
            ({"flags": 1, "q_start": 2**32 - 129}, Code.START),
            ({"head_dim": 0}, Code.HEAD_DIM),
            ({"head_dim": 20}, Code.HEAD_DIM),
            ({"head_dim": 10}, Code.HEAD_DIM),
            ({"query_bits": 0}, Code.BITS),
            ({"query_bits": 1}, Code.BITS),
            ({"query_bits": 9}, Code.BITS),
            ({"q_0": 1}, Code.ALIGNMENT),
            ({"k_0": 2}, Code.ALIGNMENT),
            ({"v_0": 8}, Code.ALIGNMENT),
            ({"o_0": 4}, Code.ALIGNMENT),
            ({"factors": 1}, Code.ALIGNMENT),
            ({"flags": 2, "table": 8}, Code.ALIGNMENT),
            ({"flags": 5}, Code.KIND),
        ],
    )
    def test_with_a_code(self, bench, changes, code):
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            with pytest.raises(CallError, match=rf"code {code.value}, {code.name}: ") as error:
                trial.run(**changes)
            assert error.value.code == code
            assert not any(p.read_bursts or p.write_bursts for p in simulation.counters.values())
            trial.check_works()


class TestOverlap:
    @pytest.mark.parametrize("name", ["q_0", "k_0", "v_0", "factors"])
    @pytest.mark.parametrize("back", [False, True])
    def test_of_outputs_is_refused(self, bench, name, back):
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            arguments, (_, size) = trial.task.arguments, trial.task.outputs[0]
            beat = bench.kernel.parameters["data_width"] // 8
            # From the last beat of the one to the first of the other.
            heads, _, head_dim = trial.prepared.call.q.shape
            extent = {
                "q_0": heads * 24 * head_dim,
                "k_0": heads * 40 * head_dim,
                "v_0": heads * 40 * head_dim,
                "factors": 8 * heads,
            }[name]
            at = arguments["o_0"]
            clash = at - -(-extent // beat) * beat + beat if back else at + size - beat
            with pytest.raises(CallError, match=r"code 8, OVERLAP: "):
                trial.run(**{name: clash})
            trial.check_untouched()
            trial.run(**{name: clash - beat if back else clash + beat})
            trial.check_works()


class TestBusErrors:
    @pytest.mark.parametrize("kind", ["slverr", "decerr"])
    @pytest.mark.parametrize(
        ("direction", "port", "beat"),
        [("read", 0, 0), ("read", 1, 40), ("read", 2, 0), ("read", 2, 30), ("write", 3, 20)],
    )
    def test_end_with_a_code(self, bench, kind, direction, port, beat):
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            simulation.set_faults([Fault(kind, direction, port=port, beat=beat)])
            with pytest.raises(CallError, match=rf"code \d+, {kind.upper()}: "):
                trial.run()
            trial.check_untouched()
            simulation.set_faults([])
            with pytest.raises(CallError, match=rf"code \d+, {kind.upper()}: "):
                trial.run()  # it stays so
            trial.host.reset()
            trial.check_works()

    @pytest.mark.parametrize("name", ["q_0", "k_0", "v_0", "o_0", "factors"])
    def test_of_a_pointer_to_nowhere(self, bench, name):
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            nowhere = trial.task.arguments[name] | CHANNEL_BYTES // 2
            with pytest.raises(CallError, match=r"there is no memory at"):
                trial.run(**{name: nowhere})
            assert trial.host.read("error") == Code.DECERR
            assert trial.image.changed(bench.memory(simulation)) == []
            simulation.reset()
            trial.host = Host(simulation, bench.kernel.registers)
            trial.check_works()


class TestStuck:
    @pytest.mark.parametrize(("direction", "port"), [("read", 0), ("read", 2), ("write", 3)])
    def test_times_out(self, bench, direction, port):
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            simulation.set_faults([Fault("stall", direction, port=port, beat=8)])
            with pytest.raises(CallError, match=r"code 18, TIMEOUT: "):
                trial.run()
            with pytest.raises(CallError, match=r"code 18, TIMEOUT: "):
                trial.run()  # it stays so
            trial.check_untouched()
            with pytest.raises(CallError, match=r"^The soft reset did not end in 5,000 cycles: "):
                trial.host.reset(5_000)
            simulation.set_faults([])
            simulation.reset()
            trial.host = Host(simulation, bench.kernel.registers)
            trial.check_works()

    def test_until_memory_goes_on(self, bench):
        """A soft reset ends when memory answers after all."""
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            simulation.set_faults([Fault("stall", "write", port=3, beat=8)])
            with pytest.raises(CallError, match=r"code 18, TIMEOUT: "):
                trial.run()
            with pytest.raises(CallError, match=r"^The soft reset did not end"):
                trial.host.reset(2_000)
            simulation.set_faults([])
            trial.host.reset()
            trial.check_works()


class TestReset:
    @pytest.mark.parametrize("after", [1, 60, 130, 200, 331, 500, 777, 1_200])
    def test_in_the_middle(self, bench, after):
        with bench.start(seed=after) as simulation:
            trial = Trial(bench, simulation)
            trial.host.start(trial.task.arguments)
            trial.host.start(trial.task.arguments)
            simulation.run(after, until_interrupt=False)
            trial.host.reset()
            for port in simulation.counters.values():
                assert (port.reads_left, port.writes_left) == (0, 0)
            trial.check_untouched()
            trial.check_works()

    def test_at_any_time(self, bench):
        """Before a memory that is slow and reorders, over the whole length of a call."""
        slow = {
            "refusals": Stall(0.5, seed=1),
            "gaps": Stall(0.5, seed=2),
            "delays": Stall(0.3, seed=3),
        }
        with bench.start(order="beats", latency=60, **slow) as simulation:
            trial = Trial(bench, simulation)
            begin = simulation.cycle
            trial.check_works()
            longest = simulation.cycle - begin
            begun = {"read": 0, "write": 0}
            for after in range(1, longest, 37):
                trial.host.start(trial.task.arguments)
                simulation.run(after, until_interrupt=False)
                ports = simulation.counters.values()
                begun["read"] += any(port.reads_left for port in ports)
                begun["write"] += any(port.writes_left for port in ports)
                trial.host.reset()
                for port in simulation.counters.values():
                    assert (port.reads_left, port.writes_left) == (0, 0)
                trial.check_untouched()
                trial.check_works()
            assert min(begun.values()) > 5  # resets met what they are for

    def test_of_calls_that_are_refused(self, bench):
        """No code of a call before the reset comes out after it."""
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            for after in range(1, 40):
                trial.host.start({**trial.task.arguments, "heads": 0})
                for _ in range(3):
                    trial.host.start({})
                simulation.run(after, until_interrupt=False)
                trial.host.reset()
                simulation.run(20, until_interrupt=False)
                assert trial.host.read("control") == 4  # idle, and nothing is done
            trial.check_works()

    @pytest.mark.parametrize("after", [150, 420, 901])
    def test_of_the_whole_system(self, bench, after):
        with bench.start() as simulation:
            trial = Trial(bench, simulation)
            trial.host.start(trial.task.arguments)
            simulation.run(after, until_interrupt=False)
            simulation.reset()
            trial.host = Host(simulation, bench.kernel.registers)
            trial.check_works()
