"""Compiled code computes what plain code does; both are measured in one process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def measured():
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    program = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_compiled_head_loss_and_its_gradients_equal_the_plain_ones(measured):
    for compiled, plain in zip(measured["compiled loss"], measured["plain loss"], strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-6)


def test_compiled_gelu_and_its_gradient_equal_torchs_to_bfloat16_s_last_place(measured):
    for compiled, plain in zip(measured["compiled gelu"], measured["plain gelu"], strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=2**-7, atol=1e-6)


def test_two_compiled_dropouts_draw_two_masks(measured):
    assert measured["first"] != measured["second"]


def test_compiled_dropout_takes_its_share(measured):
    assert abs(np.count_nonzero(measured["first"]) / 1_000 - 0.5) < 4 * 0.5 / 1_000**0.5


def test_the_compiled_backward_pass_uses_the_masks_of_the_forward_pass(measured):
    expected = np.add(measured["first"], measured["second"])
    np.testing.assert_allclose(measured["gradient"], expected)
