"""Walks through tokens that meet each one as often as they say."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import as_tokens

from lmcore.data.batches import Batches, get_batch, scoring_windows, to_device
from lmcore.data.token_files import Tokens

sizes = st.integers(1, 6)

# Ids of one's own

KINDS = {
    "an array": np.array,
    "an array of small unsigned integers": lambda ids: np.array(ids, dtype=np.uint16),
    "a tensor": torch.tensor,
    "a list": list,
    "an iterator": iter,
    "tokens": as_tokens,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["sequential", "uniform", "shuffled", "documents"])
def test_ids_of_any_kind_give_the_same_batches(kind, order):
    ids = [7, 0, 9, 3, 3, 8, 2, 6, 4, 5, 7, 0, 2]
    expected = Batches(np.array(ids), 2, 3, order)
    batches = Batches(KINDS[kind](ids), 2, 3, order)
    for step in range(5):
        assert all(map(torch.equal, batches.batch(step), expected.batch(step)))


WRONG_IDS = {
    "fractions": (np.array([0.0, 1.0, 2.0]), "type float64: token ids are integers"),
    "truth values": (np.array([True, False, True]), "type bool: token ids are integers"),
    "two dimensions": (np.zeros((2, 3), dtype=int), r"shape \(2, 3\): give one dimension"),
    "a negative id": (np.array([1, -2, 1]), "id -2 is negative"),
    "too few": (np.array([1, 2]), "2 tokens are not more than context_length 2"),
    "none": ([], "0 tokens are not more than context_length 2"),
}


@pytest.mark.parametrize("case", WRONG_IDS)
@pytest.mark.parametrize(
    "make",
    [lambda ids: Batches(ids, 1, 2, "uniform"), lambda ids: get_batch(ids, 1_000, 2)],
    ids=["Batches", "get_batch"],
)
def test_what_is_no_ids_is_one_line_that_says_what_is_wrong(case, make):
    ids, says = WRONG_IDS[case]
    with pytest.raises(ValueError, match=says) as caught:
        make(ids)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [Batches, get_batch])
@pytest.mark.parametrize("wrong", ["batch_size", "context_length"])
def test_a_size_below_one_is_an_error_that_names_it(make, wrong):
    sizes = {"batch_size": 2, "context_length": 3, wrong: 0}
    with pytest.raises(ValueError, match=f"{wrong} must be at least 1, not 0"):
        make(np.arange(20), **sizes)


@given(n=st.integers(3, 40), context=sizes)
def test_a_random_batch_has_rows_of_the_ids_and_their_successors(n, context):
    x, y = get_batch(torch.arange(n + context), 4, context)
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.int64, torch.int64, *[(4, context)] * 2)
    assert torch.equal(y, x + 1)
    assert torch.equal(x, x[:, :1] + torch.arange(context))


def test_each_start_of_a_random_batch_is_equally_likely():
    n_starts, n = 5, 20_000
    generator = torch.Generator().manual_seed(0)
    x, _ = get_batch(np.arange(n_starts + 3), n, 3, generator=generator)
    counts = x[:, 0].bincount(minlength=n_starts)
    assert len(counts) == n_starts
    expected = n / n_starts
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi-squared, p = 0.001


def test_a_seed_fixes_a_random_batch():
    first, second = (
        get_batch(range(50), 4, 3, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


# Batches in order


def in_order(n, batch_size, context):
    """Return batches in order of the tokens 0 … n - 1."""
    return Batches(as_tokens(np.arange(n, dtype=np.uint16)), batch_size, context)


def epoch(n, batch_size, context):
    """Return (x, y) of all steps of one epoch over the tokens 0 … n - 1."""
    batches = in_order(n, batch_size, context)
    return [batches.batch(step) for step in range(batches.steps_per_epoch)]


@given(batch=sizes, context=sizes, extra=st.integers(1, 100))
def test_y_is_x_one_token_later(batch, context, extra):
    for x, y in epoch(batch * context + extra, batch, context):
        assert torch.equal(y, x + 1)


@given(batch=sizes, context=sizes, extra=st.integers(1, 100))
def test_an_epoch_meets_each_target_once_in_order_but_for_a_last_part_of_a_batch(
    batch, context, extra
):
    n = batch * context + extra
    targets = torch.cat([y.flatten() for _, y in epoch(n, batch, context)])
    assert targets.tolist() == list(range(1, len(targets) + 1))
    assert 0 <= n - 1 - len(targets) < batch * context


@given(batch=sizes, context=sizes, extra=st.integers(1, 100), step=st.integers(0, 50))
def test_after_the_last_full_batch_the_walk_begins_again(batch, context, extra, step):
    batches = in_order(batch * context + extra, batch, context)
    (x, _), (again, _) = (batches.batch(n) for n in (step, step + batches.steps_per_epoch))
    assert torch.equal(x, again)


def test_batches_are_rows_of_64_bit_integers():
    x, y = in_order(50, 3, 4).batch(0)
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.int64, torch.int64, (3, 4), (3, 4))


def test_tokens_too_few_for_one_batch_are_an_error_with_the_sizes():
    with pytest.raises(ValueError, match="12 tokens do not fill one batch of 3 x 4"):
        in_order(12, 3, 4)


# Batches in other orders

ORDERS = ["sequential", "uniform", "shuffled", "documents"]


def counted(lengths):
    """Return the tokens 0, 1, 2 … as documents of these lengths."""
    tokens = as_tokens(np.arange(sum(lengths), dtype=np.uint16))
    begins = np.cumsum([0, *lengths[:-1]])
    return Tokens(tokens.ids, begins, tokens.info)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=st.integers(0, 5), step=st.integers(0, 30), other=st.integers(0, 30))
def test_a_batch_depends_on_its_step_and_seed_alone(order, seed, step, other):
    tokens = counted([5, 1, 30, 8])
    used, fresh = (Batches(tokens, 2, 4, order, seed) for _ in range(2))
    used.batch(other)
    assert all(map(torch.equal, used.batch(step), fresh.batch(step)))


@pytest.mark.parametrize("order", ORDERS[1:])
def test_another_seed_gives_other_batches(order):
    tokens = counted([3] * 50)
    (x, _), (other, _) = (Batches(tokens, 4, 8, order, seed).batch(0) for seed in (0, 1))
    assert not torch.equal(x, other)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_the_next_epoch_has_another_order(order):
    batches = Batches(counted([3] * 50), 4, 8, order)
    (x, _), (later, _) = batches.batch(0), batches.batch((150 - 1) // 32)
    assert not torch.equal(x, later)


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_holds_the_ids_at_its_positions(order):
    tokens = as_tokens(np.random.default_rng(0).integers(0, 999, 70))
    batches = Batches(tokens, 3, 5, order)
    for step in range(9):
        x, y = batches.batch(step)
        rows = torch.from_numpy(tokens.ids[batches.positions(step)])
        assert torch.equal(x, rows[:, :-1])
        assert torch.equal(y, rows[:, 1:])


@given(batch=sizes, context=sizes, extra=st.integers(1, 30))
def test_uniform_rows_are_tokens_one_after_the_other(batch, context, extra):
    x, y = Batches(as_tokens(np.arange(context + extra)), batch, context, "uniform").batch(3)
    assert torch.equal(y, x + 1)
    assert torch.equal(x - x[:, :1], torch.arange(context).expand(batch, -1))


def test_uniform_rows_begin_at_each_possible_place_equally_often():
    n, context, draws = 12, 4, 8_000
    batches = Batches(as_tokens(np.arange(n)), 100, context, "uniform", seed=1)
    starts = torch.cat([batches.batch(step)[0][:, 0] for step in range(draws // 100)])
    counts = torch.bincount(starts, minlength=n)
    expected = draws / (n - context)
    assert counts[n - context :].sum() == 0
    # chi-square of 7 degrees of freedom; one seed in a thousand is beyond 24.3
    assert ((counts[: n - context] - expected) ** 2 / expected).sum() < 24.3


@given(batch=sizes, context=sizes, extra=st.integers(1, 100), epoch=st.integers(0, 3))
def test_a_shuffled_epoch_meets_no_window_twice_and_leaves_out_less_than_a_batch(
    batch, context, extra, epoch
):
    n = batch * context + extra
    batches = Batches(as_tokens(np.arange(n)), batch, context, "shuffled")
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    starts = torch.cat([batches.batch(step)[0][:, 0] for step in steps]).tolist()
    assert len(set(starts)) == len(starts)
    assert all(start % context == 0 for start in starts)
    assert 0 <= (n - 1) // context - len(starts) < batch


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(lengths=lengths, batch=st.integers(1, 2), context=sizes, epoch=st.integers(0, 2))
def test_an_epoch_by_documents_is_the_documents_whole_in_some_order(lengths, batch, context, epoch):
    lengths = [*lengths, 12]
    tokens = counted(lengths)
    batches = Batches(tokens, batch, context, "documents")
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    rows = np.concatenate([batches.positions(step) for step in steps])
    walked = [rows[0, 0], *rows[:, 1:].flatten()]
    assert np.array_equal(rows[1:, 0], rows[:-1, -1])
    assert len(set(walked)) == len(walked)
    ends = {end - 1: end for end in np.cumsum(lengths)}
    begins = set(tokens.documents.tolist())
    for here, there in itertools.pairwise(walked):
        assert there in begins if here in ends else there == here + 1


@pytest.mark.parametrize("order", ORDERS)
def test_a_token_s_document_in_a_batch_is_that_of_its_target(order):
    tokens = counted([4, 1, 9, 20, 2, 30])
    of_token = np.repeat(np.arange(6), [4, 1, 9, 20, 2, 30])
    batches = Batches(tokens, 2, 7, order)
    for step in range(6):
        _, y = batches.batch(step)
        assert batches.documents(step).tolist() == of_token[y.numpy()].tolist()


def test_an_unknown_order_is_an_error_that_names_it():
    with pytest.raises((ValueError, TypeError), match="sorted"):  # types are checked in tests
        Batches(as_tokens(np.arange(50)), 2, 4, "sorted")


@pytest.mark.parametrize(
    ("order", "says"), [("shuffled", "do not fill one batch"), ("uniform", "not more than")]
)
def test_tokens_too_few_for_an_order_are_an_error_with_the_sizes(order, says):
    with pytest.raises(ValueError, match=f"4 tokens .*{says}"):
        Batches(as_tokens(np.arange(4)), 1, 4, order)


# Devices


def test_a_batch_comes_to_the_cpu_as_it_is():
    x, y = Batches(as_tokens(np.arange(50)), 2, 4).batch(0)
    moved = to_device((x, y), "cpu")
    assert torch.equal(moved[0], x)
    assert torch.equal(moved[1], y)


def test_an_unknown_device_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'gpu'"):
        to_device((torch.zeros(1),), "gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_and_no_silent_cpu():
    with pytest.raises(ValueError, match="device cuda is not available"):
        to_device((torch.zeros(1),), "cuda")


@pytest.mark.parametrize("device", ["cuda:99", "mps:99", "xpu", "vulkan"])
def test_a_batch_on_a_device_that_is_not_there_is_an_error_that_names_it(device):
    with pytest.raises(ValueError, match=f"device {device} is not available to torch here"):
        get_batch(np.arange(20), 2, 4, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_batch_comes_to_the_gpu_with_its_values():
    x, y = Batches(as_tokens(np.arange(50)), 2, 4).batch(0)
    moved = to_device((x, y), "cuda")
    assert moved[0].is_cuda
    assert torch.equal(moved[0].cpu(), x)
    assert torch.equal(moved[1].cpu(), y)


# Scoring


@given(n=st.integers(1, 80), context=sizes, rows=sizes)
def test_scoring_meets_each_token_once_in_order(n, context, rows):
    windows = scoring_windows(np.arange(n), context, rows, start_id=99)
    assert torch.cat([y.flatten() for _, y in windows]).tolist() == list(range(n))


@given(n=st.integers(1, 80), context=sizes, rows=sizes)
def test_what_is_read_before_scoring_is_the_start_id_and_then_the_tokens(n, context, rows):
    windows = scoring_windows(np.arange(n), context, rows, start_id=99)
    assert torch.cat([x.flatten() for x, _ in windows]).tolist() == [99, *range(n - 1)]


@given(n=st.integers(1, 80), context=sizes, rows=sizes)
def test_no_scoring_window_is_longer_than_the_context_or_higher_than_rows(n, context, rows):
    for x, y in scoring_windows(np.arange(n), context, rows, start_id=99):
        assert x.shape == y.shape
        assert x.shape[0] <= rows
        assert x.shape[1] <= context
