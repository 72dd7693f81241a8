"""In which order rows are learnt, how much of a step is replayed, and whom the shown teacher answers for."""

from collections import Counter
from itertools import pairwise

import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from trainer.errors import UsageError
from trainer.training.order import EpochSeededSampler, ReplaySampler, TeacherShare, let_epochs_through


def sampler(trained, replays, batch, share, at_once=None, seed=1, **more):
    given = {"mini_repeat_count": 1, "batch_size": batch, "seed": seed} | more
    rows = range(trained + replays)
    return ReplaySampler(rows, trained=trained, share=share, at_once=at_once or batch, **given)


def steps_of(sampler):
    order, size = [*sampler], sampler.batch_size * sampler.mini_repeat_count * sampler.repeat_count
    return [order[start : start + size] for start in range(0, len(order), size)]


@given(
    trained=st.integers(1, 60),
    replays=st.integers(1, 20),
    batch=st.integers(1, 9),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 5),
)
def test_an_epoch_learns_each_row_once_and_replays_its_share(trained, replays, batch, share, seed):
    found = sampler(trained, replays, batch, share, seed=seed)
    steps = steps_of(found)
    assert len(found) == sum(map(len, steps)) and all(len(step) == batch for step in steps)
    learnt = [row for step in steps for row in step if row < trained]
    replayed = Counter(row for step in steps for row in step if row >= trained)
    assert len(learnt) == len({*learnt}) and trained - len(learnt) < batch
    assert abs(replayed.total() - share * batch * len(steps)) <= 1
    assert not replayed or max(replayed.values()) - min(replayed[n] for n in range(trained, trained + replays)) <= 1


def test_each_device_replays_its_part_at_the_end_of_what_it_gets():
    for step in steps_of(sampler(60, 9, 8, 0.25, at_once=4)):
        assert [row >= 60 for row in step] == [False, False, False, True] * 2


def test_the_order_is_a_function_of_seed_and_epoch_and_rollouts_of_a_prompt_stand_together():
    first, second = sampler(40, 7, 8, 0.2), sampler(40, 7, 8, 0.2)
    for epoch in (3, 0):
        first.set_epoch(epoch)
    second.set_epoch(0)
    assert [*first] == [*second] != [*sampler(40, 7, 8, 0.2, seed=2)]
    repeated = steps_of(sampler(40, 7, 4, 0.25, mini_repeat_count=2, repeat_count=2))
    assert all(step[:8] == step[8:] and step[0:8:2] == step[1:8:2] for step in repeated)


@pytest.mark.parametrize("text", ["", "a", "0.5:", "1:0:1", "1.5", "-1:0", "nan"])
def test_a_share_that_is_none_is_a_usage_error(text):
    with pytest.raises(UsageError, match=r"--teacher_rollouts is .* expected a share from 0 to 1, as 0\.5, or .* 1:0"):
        TeacherShare.parse(text)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40), st.integers(1, 33))
def test_over_a_run_the_teacher_answers_its_share(begin, end, steps, prompts):
    share, rows = TeacherShare(begin, end), [*range(prompts)]
    counts = [len(share.chosen(rows, step=step, steps=steps, epoch=0)) for step in range(steps)]
    assert abs(sum(counts) - prompts * steps * (begin + end) / 2) < 1 + 1e-6
    if begin >= end:
        assert all(later <= earlier + 1 for earlier, later in pairwise(counts))


def test_half_of_the_rows_are_answered_by_the_teacher_and_the_others_in_the_next_epoch():
    rows, share = [5, 9, 2, 17, 30, 8, 21, 3], TeacherShare.parse("0.5")
    first, second = (share.chosen(rows, step=0, steps=4, epoch=epoch) for epoch in (0, 1))
    assert len(first) == len(second) == 4 and len(first & second) <= 2
    assert TeacherShare.parse("1").chosen(rows, step=1, steps=4, epoch=0) == {*range(8)}
    assert TeacherShare.parse("0").chosen(rows, step=1, steps=4, epoch=0) == set()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    "sampler",
    [
        lambda: EpochSeededSampler([*range(12)], mini_repeat_count=1, batch_size=2, seed=3),
        lambda: SeedableRandomSampler([*range(12)], data_seed=3),
    ],
    ids=["distillation", "sft"],
)
def test_a_run_that_goes_on_within_its_second_epoch_learns_in_that_epochs_order(sampler, processes):
    def loader():
        plain = DataLoader([*range(12)], batch_size=1, sampler=sampler())
        found = prepare_data_loader(plain, num_processes=processes, process_index=0, put_on_device=False)
        let_epochs_through(found)
        return found

    def rows(loader, epoch):  # as transformers begins an epoch
        loader.set_epoch(epoch)
        inner = getattr(loader.batch_sampler, "batch_sampler", None)
        if hasattr(inner, "set_epoch"):
            inner.set_epoch(epoch)
        return [row for batch in loader for row in batch.tolist()]

    first, second = rows(loader(), 0), rows(loader(), 1)
    assert first != second
    assert rows(skip_first_batches(loader(), 2), 1) == second[2:]
