"""How to compute is settled by what the machine has, and never silently otherwise."""

import pytest
import torch

from lmcore.training.runtime import Runtime


def test_a_device_that_nobody_knows_is_an_error_that_says_which_there_are():
    with pytest.raises(ValueError, match="unknown device 'tpu': take cpu, cuda, mps or auto"):
        Runtime(device="tpu").resolve(1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_gpu_that_is_not_there_is_an_error_and_never_a_silent_cpu(device):
    with pytest.raises(ValueError, match="torch sees no GPU"):
        Runtime(device=device).resolve(1)


def test_nothing_stays_automatic_once_a_runtime_is_resolved():
    resolved = Runtime().resolve(1e9)
    assert "auto" not in (resolved.device, resolved.precision, resolved.compile)


def test_what_was_asked_for_is_not_changed():
    asked = Runtime(device="cpu", precision="float32", compile="yes")
    assert asked.resolve(1) == asked


def test_the_processor_decides_the_automatic_precision():
    with open("/proc/cpuinfo") as file:
        flags = file.read()
    expected = "bfloat16" if "amx_bf16" in flags or "avx512_bf16" in flags else "float32"
    assert Runtime(device="cpu").resolve(1).precision == expected


def test_a_short_run_is_not_compiled():
    assert Runtime(device="cpu").resolve(1e9).compile == "no"


def test_tf32_is_for_gpus_that_have_it():
    with pytest.raises(ValueError, match="cpu here has no TF32: take float32"):
        Runtime(device="cpu", precision="tf32").resolve(1)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_products_are_taken_in_the_precision_asked_for(precision, dtype):
    a = torch.ones(2, 2)
    with Runtime(device="cpu", precision=precision).resolve(1).autocast():
        assert (a @ a).dtype == dtype


def test_no_less_than_one_part_of_a_batch_can_be_read():
    with pytest.raises(ValueError, match="grad_accum_steps must be at least 1, not 0"):
        Runtime(grad_accum_steps=0)


def test_the_speed_of_products_is_a_positive_number():
    assert Runtime(device="cpu", precision="float32").resolve(1).product_speed() > 0


def test_measuring_speed_draws_none_of_a_run_s_random_numbers():
    before = torch.get_rng_state()
    Runtime(device="cpu", precision="float32").resolve(1).product_speed()
    assert torch.equal(torch.get_rng_state(), before)
