"""The same calls on both platforms, and what each of them refuses before it is too late."""

import sys
import threading
from typing import Any

import numpy as np
import pytest

from qkloom.platforms.host import (
    PAGE,
    Buffer,
    Device,
    DeviceError,
    LaunchTimeoutError,
    RefusedError,
    Status,
    kernel_numerics,
)
from qkloom.platforms.host.check import argument_channels
from qkloom.tb.errors import InputError
from qkloom.tb.exact import exact_attention
from qkloom.tb.kernel.image import factor_table, from_channels, to_channels
from qkloom.tb.quantize import Operands, quantize

HEADS, TOKENS, HEAD_DIM, BLOCK = 2, 11, 8, 8


def operands(device: Device, seed: int) -> Operands:
    rng = np.random.default_rng(seed)
    tensors = (rng.standard_normal((HEADS, TOKENS, HEAD_DIM)) for _ in range(3))
    return quantize(*tensors, kernel_numerics(device.kernel))


def expected(device: Device, given: Operands) -> Any:
    return exact_attention(
        given.q,
        given.k,
        given.v,
        given.mantissa,
        given.shift,
        kernel_numerics(device.kernel),
        block_rows=BLOCK,
    )


def prepare(device: Device, given: Operands) -> dict[str, Any]:
    """Allocate and write a call's buffers; return its arguments."""
    arguments: dict[str, Any] = {}
    contents = {"factors": factor_table(given.mantissa, given.shift)}
    for name, x in (("q", given.q), ("k", given.k), ("v", given.v)):
        n = len(device.kernel.channels[name])
        for number, part in enumerate(to_channels(x, block=BLOCK, n_channels=n)):
            contents[f"{name}_{number}"] = part
    channels = argument_channels(device.kernel)
    for name, content in contents.items():
        arguments[name] = device.allocate(channels[name], len(content))
        device.write(arguments[name], content)
    for name in ("o_0", "o_1"):
        arguments[name] = device.allocate(channels[name], 2 * BLOCK * HEAD_DIM * 4)
    numbers = dict(flags=0, heads=HEADS, kv_heads=HEADS, n_q=TOKENS, n_kv=TOKENS, q_start=0)
    return {**arguments, **numbers, "head_dim": HEAD_DIM, "query_bits": 8}


def outputs(device: Device, arguments: dict[str, Any]) -> Any:
    parts = [device.read(arguments[name]) for name in ("o_0", "o_1")]
    return from_channels(parts, heads=HEADS, tokens=TOKENS, head_dim=HEAD_DIM, block=BLOCK)


class TestOpen:
    def test_platform(self) -> None:
        with pytest.raises(InputError, match=r"^A platform must be one of sim, xrt, not 'fpga'$"):
            Device.open("fpga", "x")

    def test_a_simulation_needs_no_pyxrt(self, folder: Any) -> None:
        with Device.open("sim", folder) as device:
            assert device.name == "sim host-tiny"
            assert device.kernel.n_channels == 2
        assert "pyxrt" not in sys.modules


class TestBuffers:
    def test_hold_what_is_written(self, device: Device) -> None:
        buffers = [device.allocate(n % 2, 40 * (n + 1)) for n in range(6)]
        for number, buffer in enumerate(buffers):
            assert (buffer.channel, buffer.size, buffer.offset) == (number % 2, 40 * number + 40, 0)
            device.write(buffer, np.full(10 * (number + 1), number - 3, "<i4"))
        for number, buffer in enumerate(buffers):
            np.testing.assert_array_equal(device.read(buffer, "<i4"), number - 3)
        assert device.read(buffers[0]).dtype == np.uint8

    def test_less_than_a_buffer_is_written_from_its_begin(self, device: Device) -> None:
        buffer = device.allocate(0, 8)
        device.write(buffer, np.arange(8, dtype=np.uint8))
        device.write(buffer, np.array([[70], [71]], np.int8))
        device.write(buffer, np.empty(0, np.int8))
        assert device.read(buffer).tolist() == [70, 71, 2, 3, 4, 5, 6, 7]

    def test_not_contiguous(self, device: Device) -> None:
        buffer = device.allocate(0, 8)
        device.write(buffer, np.arange(16, dtype=np.uint8).reshape(4, 4)[::2, ::2].T)
        assert device.read(buffer).tolist()[:4] == [0, 8, 2, 10]
        device.write(buffer, np.arange(8, dtype="<i2")[::2])
        assert device.read(buffer).tolist() == [0, 0, 2, 0, 4, 0, 6, 0]

    def test_parts_share_bytes(self, device: Device) -> None:
        whole = device.allocate(1, 3 * PAGE)
        device.write(whole, np.zeros(3 * PAGE, np.uint8))
        part = device.part(whole, PAGE, 2 * PAGE)
        inner = device.part(part, PAGE, 5)
        assert (inner.channel, inner.size, inner.offset) == (1, 5, 2 * PAGE)
        device.write(inner, np.arange(1, 6, dtype=np.uint8))
        found = device.read(part)
        assert np.flatnonzero(found).tolist() == list(range(PAGE, PAGE + 5))

    @pytest.mark.parametrize("channel", [-1, 2, 0.0, True])
    def test_channel(self, device: Device, channel: Any) -> None:
        with pytest.raises(InputError, match=r"^Channel must be 0 to 1, not "):
            device.allocate(channel, 1)

    @pytest.mark.parametrize("size", [0, -1, 1 << 40, 1.5])
    def test_size(self, device: Device, size: Any) -> None:
        with pytest.raises(InputError, match=r"^Size must be 1 to [\d,]+ bytes, as many as a chan"):
            device.allocate(0, size)

    @pytest.mark.parametrize("offset", [1, 64, PAGE - 1, 0.0])
    def test_misaligned_part(self, device: Device, offset: Any) -> None:
        whole = device.allocate(0, 3 * PAGE)
        with pytest.raises(InputError, match=r"^Offset must be a multiple of 4096 bytes, not "):
            device.part(whole, offset, 1)

    @pytest.mark.parametrize(("offset", "size"), [(0, 0), (PAGE, 2 * PAGE), (-PAGE, 1), (0, 1.0)])
    def test_part_outside(self, device: Device, offset: int, size: Any) -> None:
        whole = device.allocate(0, 3 * PAGE - 1)
        with pytest.raises(
            InputError, match=r"^A part must be at least a byte of the 12,287 bytes"
        ):
            device.part(whole, offset, size)

    def test_too_large_an_array(self, device: Device) -> None:
        buffer = device.allocate(0, 7)
        with pytest.raises(InputError, match=r"^An array must fit into its buffer of 7 bytes, and"):
            device.write(buffer, np.zeros(2, np.int32))

    def test_type_that_does_not_fit(self, device: Device) -> None:
        buffer = device.allocate(0, 7)
        with pytest.raises(InputError, match=r"^A buffer that is read as int32 must have a multip"):
            device.read(buffer, np.int32)

    def test_freed(self, device: Device) -> None:
        buffer = device.allocate(0, 7)
        device.free(buffer)
        with pytest.raises(
            InputError, match=r"^A buffer must be allocated on this device, and is "
        ):
            device.free(buffer)

    def test_part_is_not_freed(self, device: Device) -> None:
        part = device.part(device.allocate(0, 7), 0, 7)
        with pytest.raises(InputError, match=r"^A part must not be freed; free the buffer that it"):
            device.free(part)

    @pytest.mark.parametrize("buffer", [4096, Buffer(0, 1, 0, 99, None)])
    def test_of_somebody_else(self, device: Device, buffer: Any) -> None:
        with pytest.raises(InputError, match=r"^A buffer must (come from|be allocated on this)"):
            device.read(buffer)

    def test_of_another_device(self, device: Device, folder: Any) -> None:
        mine = device.allocate(0, 4)
        device.write(mine, np.full(4, 7, np.uint8))
        with Device.open("sim", folder) as other:
            theirs = other.allocate(0, 4)
            for use in (device.read, device.free, lambda b: device.write(b, np.zeros(4, np.uint8))):
                with pytest.raises(InputError, match=r"^A buffer must be allocated on this device"):
                    use(theirs)
        assert (device.read(mine) == 7).all()

    @pytest.mark.parametrize("array", [None, "abc", [1, [2]], {"a": 1}])
    def test_no_numbers(self, device: Device, array: Any) -> None:
        buffer = device.allocate(0, 64)
        with pytest.raises(InputError, match=r"^What is written must be an array of numbers: "):
            device.write(buffer, array)

    @pytest.mark.parametrize("dtype", ["S", "V0", "zz", "U4", object])
    def test_no_type_of_numbers(self, device: Device, dtype: Any) -> None:
        buffer = device.allocate(0, 64)
        with pytest.raises(InputError, match=r"^Elements must be of a type of numbers, such as in"):
            device.read(buffer, dtype)


class TestThreads:
    def test_one_at_a_time(self, folder: Any) -> None:
        """Who comes while another thread waits is told so, and harms nobody."""
        with Device.open("sim", folder) as device:
            given = operands(device, 3)
            arguments = prepare(device, given)
            found: list[str] = []
            finish = device._backend.finish

            def meddle(timeout: float | None) -> Any:
                """Try all that another thread could, while this one waits."""
                uses: list[Any] = [device.close, device.reset, device.wait]
                uses += [lambda: device.launch(arguments), lambda: device.allocate(0, 1)]
                for use in uses:
                    thread = threading.Thread(target=told, args=(use,))
                    thread.start()
                    thread.join()
                return finish(timeout)

            def told(use: Any) -> None:
                try:
                    use()
                except DeviceError as error:
                    found.append(str(error))

            device._backend.finish = meddle  # type: ignore[method-assign]
            device.launch(arguments)
            device.wait(60)
            assert len(found) == 5
            assert all(
                "must not be called while another thread uses the device" in x for x in found
            )
            np.testing.assert_array_equal(outputs(device, arguments), expected(device, given))


class TestCalls:
    @pytest.mark.parametrize("arguments", [None, [1], "n_q"])
    def test_no_mapping(self, device: Device, arguments: Any) -> None:
        with pytest.raises(InputError, match=r"^A call must be a mapping from names of registers"):
            device.launch(arguments)

    def test_numbers_of_numpy(self, device: Device) -> None:
        given = operands(device, 4)
        arguments = prepare(device, given)
        numbers = {n: np.int64(x) for n, x in arguments.items() if isinstance(x, int)}
        device.launch(arguments | numbers)
        device.wait(60)
        np.testing.assert_array_equal(outputs(device, arguments), expected(device, given))
        with pytest.raises(InputError, match=r"^n_q must be an integer, not True; give a number$"):
            device.launch(arguments | {"n_q": True})

    def test_several_wait(self, device: Device) -> None:
        calls = []
        for seed in range(4):
            given = operands(device, seed)
            calls.append((given, prepare(device, given)))
        for number, (_, arguments) in enumerate(calls):
            device.launch(arguments)
            assert device.queued == number + 1
        with pytest.raises(InputError, match=r"^At most 4 calls may be on their way; wait for one"):
            device.launch(calls[0][1])
        cycles = []
        for number, (given, arguments) in enumerate(calls):
            status = device.wait(timeout=60)
            assert isinstance(status, Status)
            cycles += [] if status.cycles is None else [status.cycles]
            assert device.queued == 3 - number
            np.testing.assert_array_equal(outputs(device, arguments), expected(device, given))
        assert max(cycles, default=0) < 2 * min(cycles, default=1)
        with pytest.raises(InputError, match=r"^There must be a call to wait for; launch one$"):
            device.wait()

    def test_parts_of_one_buffer_are_arguments(self, device: Device) -> None:
        given = operands(device, 5)
        arguments = prepare(device, given)
        pool = device.allocate(0, 8 * PAGE)
        for number, name in enumerate(("q_0", "k_0", "o_0", "factors")):
            part = device.part(pool, 2 * number * PAGE, arguments[name].size)
            device.write(part, device.read(arguments[name]))
            arguments[name] = part
        device.launch(arguments)
        device.wait(timeout=60)
        np.testing.assert_array_equal(outputs(device, arguments), expected(device, given))

    def test_buffers_in_use_are_left_alone(self, device: Device) -> None:
        arguments = prepare(device, operands(device, 6))
        device.launch(arguments)
        used = r" while a call may use it; wait for the call first$"
        with pytest.raises(InputError, match=r"^A buffer must not be read" + used):
            device.read(arguments["o_0"])
        with pytest.raises(InputError, match=r"^A buffer must not be written" + used):
            device.write(arguments["q_0"], np.zeros(1))
        with pytest.raises(InputError, match=r"^A buffer must not be freed" + used):
            device.free(arguments["k_1"])
        with pytest.raises(InputError, match=r"^A buffer must not be written" + used):
            device.launch(arguments)
        again = prepare(device, operands(device, 6))
        device.launch({**arguments, "o_0": again["o_0"], "o_1": again["o_1"]})
        device.wait(timeout=60)
        device.wait(timeout=60)
        np.testing.assert_array_equal(outputs(device, again), outputs(device, arguments))

    def test_refused_calls_do_not_start(self, device: Device) -> None:
        arguments = prepare(device, operands(device, 7))
        with pytest.raises(RefusedError, match=r"^n_q must be 1 to 64, not 0 \(code 2, QUERIES\);"):
            device.launch({**arguments, "n_q": 0})
        device.free(arguments["k_1"])
        with pytest.raises(
            InputError, match=r"^A buffer must be allocated on this device, and is "
        ):
            device.launch(arguments)
        assert not device.queued

    def test_not_done_in_time(self, device: Device) -> None:
        given = operands(device, 8)
        arguments = prepare(device, given)
        # Without a cycle in which anything could happen, time is over.
        device.launch(arguments)
        with pytest.raises(
            LaunchTimeoutError, match=r"^The call was not done in 0 seconds; wait a"
        ):
            device.wait(timeout=0)
        assert device.queued == 1
        device.wait(timeout=60)
        np.testing.assert_array_equal(outputs(device, arguments), expected(device, given))

    @pytest.mark.parametrize("timeout", [-1, float("nan"), "1"])
    def test_timeout(self, device: Device, timeout: Any) -> None:
        with pytest.raises(InputError, match=r"^Timeout must be at least 0 seconds, not "):
            device.wait(timeout)

    def test_reset(self, device: Device) -> None:
        given = operands(device, 9)
        arguments = prepare(device, given)
        device.launch(arguments)
        alone = device.wait(timeout=60)
        for _ in range(2):
            device.launch(arguments)
            device.reset()
            assert not device.queued
        device.launch(arguments)
        status = device.wait(timeout=60)
        if status.cycles is not None and alone.cycles is not None:
            assert abs(status.cycles - alone.cycles) < 50
        np.testing.assert_array_equal(outputs(device, arguments), expected(device, given))


def test_closed(device: Device) -> None:
    buffer = device.allocate(0, 1)
    device.close()
    device.close()
    for use in (
        lambda: device.allocate(0, 1),
        lambda: device.read(buffer),
        lambda: device.launch({}),
        lambda: device.wait(),
        lambda: device.reset(),
    ):
        with pytest.raises(DeviceError, match=r"^The device was closed; open it again$"):
            use()
