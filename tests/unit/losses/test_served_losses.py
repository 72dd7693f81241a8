"""The losses against a served teacher are the dense formulas over what it gave, whatever the chunks and blocks."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.losses import served as served_losses
from trainer.losses.divergence import Divergence, TokenStatistics, chunked_divergence
from trainer.losses.served import (
    TAIL_FLOOR,
    ChunkTargets,
    SupportTargets,
    chunk_policy_gradient,
    support_divergence,
)
from trainer.models.output_head import OutputHead

F64 = torch.float64
NO_CLIP = math.inf


class Case:
    """Random hidden states and a head that want a gradient, sampled tokens, and the logits of a teacher."""

    def __init__(self, tokens, vocabulary, width=6, *, seed=0, dtype=F64, softcap=None, scale=1.0, bias=False):
        draw = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=F64).to(dtype)  # noqa: E731
        self.hidden, self.weight = normal(tokens, width).requires_grad_(), normal(vocabulary, width).requires_grad_()
        self.bias = normal(vocabulary).requires_grad_() if bias else None
        self.teacher = (2 * normal(tokens, vocabulary).double()).log_softmax(-1)
        self.tokens = torch.randint(vocabulary, (tokens,), generator=draw)
        self.weights = torch.rand(tokens, generator=draw, dtype=F64).to(dtype)
        self.rollout_logps = normal(tokens) - 2
        self.softcap, self.scale = softcap, scale

    @property
    def leaves(self):
        return [leaf for leaf in (self.hidden, self.weight, self.bias) if leaf is not None]

    @property
    def head(self):
        return OutputHead(self.weight, self.bias, self.scale, self.softcap)

    def targets(self, top_k):
        """What a server would give of the teacher."""
        top = self.teacher.topk(min(top_k, self.teacher.shape[1]), dim=-1)
        return SupportTargets(top.indices, top.values, self.teacher.gather(1, self.tokens[:, None])[:, 0])

    def logps(self):
        """The student's [N, V], with gradient, in float64."""
        head = [None if leaf is None else leaf.double() for leaf in (self.weight, self.bias)]
        return OutputHead(*head, self.scale, self.softcap).logits(self.hidden.double()).log_softmax(-1)

    def support(self, targets, alpha, rows=3, **changes):
        """Loss, statistics and gradients of `support_divergence`."""
        weights = changes.pop("weights", self.weights)
        loss, seen = support_divergence(
            self.hidden, self.head, targets, self.tokens, weights, alpha, **changes, chunk_bytes=self.bytes(rows)
        )
        return loss.detach(), seen, torch.autograd.grad(3 * loss, self.leaves)

    def policy(self, targets, rows=3, credit="dpca", clip=NO_CLIP, **changes):
        """Loss, statistics and gradients of `chunk_policy_gradient`."""
        weights, size = changes.pop("weights", self.weights), self.bytes(rows)
        loss, seen = chunk_policy_gradient(
            self.hidden, self.head, targets, self.tokens, weights, credit=credit, clip=clip, **changes, chunk_bytes=size
        )
        return loss.detach(), seen, torch.autograd.grad(3 * loss, self.leaves)

    def bytes(self, rows):
        return 4 * self.weight.shape[0] * rows

    def dense(self, loss_N, weights=None):
        """Loss and gradients of the losses of tokens, by autograd."""
        loss = (loss_N * (self.weights if weights is None else weights)).sum()
        return loss.detach(), None, torch.autograd.grad(3 * loss, self.leaves)


def outcomes(logps_V, ids, whole):
    """Log-probabilities of the ids and of the rest, if there is a rest."""
    rest = [token for token in range(len(logps_V)) if token not in ids]
    parts = [logps_V[ids]] + ([torch.logsumexp(logps_V[rest], 0, keepdim=True)] if rest and not whole else [])
    return torch.cat(parts)


def divergence(student, teacher, alpha):
    """The definition, over two vectors of log-probabilities."""
    if alpha == 0:
        return (teacher.exp() * (teacher - student)).sum()
    if alpha == 1:
        return (student.exp() * (student - teacher)).sum()
    mixture = (alpha * teacher.exp() + (1 - alpha) * student.exp()).log()
    to_teacher, to_student = (teacher.exp() * (teacher - mixture)).sum(), (student.exp() * (student - mixture)).sum()
    return alpha * to_teacher + (1 - alpha) * to_student


def token_divergence(case, n, targets, alpha):
    """The formula at one token, with a teacher whose tail is what its probabilities leave of 1."""
    ids = [token for token in targets.token_ids_NK[n].tolist() if token >= 0]
    logps = targets.logps_NK[n][targets.token_ids_NK[n] >= 0].double()
    if alpha > 0 and int(case.tokens[n]) not in ids:
        ids, logps = [*ids, int(case.tokens[n])], torch.cat([logps, targets.sampled_logps_N[n : n + 1].double()])
    if len(ids) < case.weight.shape[0]:
        logps = torch.cat([logps, (1 - logps.exp().sum()).clamp(min=TAIL_FLOOR).log()[None]])
    return divergence(outcomes(case.logps()[n], ids, whole=False), logps, alpha)


def support_losses(case, targets, alpha):
    losses = [token_divergence(case, n, targets, alpha) for n in range(len(case.tokens))]
    return torch.stack(losses) if losses else case.logps().sum(-1)


def advantages(case, targets, credit):
    """The definition, token by token; 0 without a chunk."""
    logps = case.logps().detach().gather(1, case.tokens[:, None])[:, 0].tolist()
    found = torch.zeros(len(logps), dtype=F64)
    for chunk in sorted(set(targets.chunks_N.tolist()) - {-1}):
        members = [n for n, other in enumerate(targets.chunks_N.tolist()) if other == chunk]
        total = sum(logps[n] for n in members)
        for n in members:
            share = 1 / len(members) if credit == "uniform" or total == 0 else logps[n] / total
            found[n] = (float(targets.logps_M[chunk]) - total) * share
    return found


def policy_losses(case, targets, credit, clip, alpha=0.0):
    logps = case.logps().gather(1, case.tokens[:, None])[:, 0]
    losses = -advantages(case, targets, credit).clamp(-clip, clip) * logps
    if targets.dense is None or not targets.dense_N.any():
        return losses
    rows = [
        token_divergence(case, n, targets.dense, alpha) if dense else losses[n]
        for n, dense in enumerate(targets.dense_N.tolist())
    ]
    return torch.stack(rows)


def assert_same(found, expected, rtol=1e-9, atol=1e-10):
    torch.testing.assert_close(found[0], expected[0].to(found[0].dtype), rtol=rtol, atol=atol)
    for ours, theirs in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=rtol, atol=atol)


def chunked(sizes, *, seed=0, dense=None, marked=()):
    """Targets of chunks of so many tokens; a negative size is a run of tokens without signal."""
    chunks, number = [], 0
    for size in sizes:
        chunks += [number if size > 0 else -1] * abs(size)
        number += size > 0
    logps = -5 * torch.rand(number, generator=torch.Generator().manual_seed(seed), dtype=F64)
    dense_N = torch.zeros(len(chunks), dtype=torch.bool)
    dense_N[list(marked)] = True
    return ChunkTargets(torch.tensor(chunks, dtype=torch.int64), logps, dense, dense_N)


ALPHAS = st.sampled_from([0.0, 1.0]) | st.floats(0.05, 0.95)
EACH_ALPHA = pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
SHAPES = {"tokens": st.integers(0, 7), "vocabulary": st.integers(2, 13), "seed": st.integers(0, 10**6)}
HEADS = {"softcap": st.none() | st.floats(2, 30), "scale": st.floats(0.2, 2), "bias": st.booleans()}
SIZES = st.lists(st.integers(-3, 6).filter(bool), max_size=6)


# The divergence over the teacher's likeliest tokens


@settings(max_examples=60, deadline=None)
@given(**SHAPES, **HEADS, alpha=ALPHAS, top_k=st.sampled_from([1, 3, 13]), rows=st.integers(1, 8))
def test_value_and_gradients_are_those_of_the_dense_formula(
    tokens, vocabulary, seed, softcap, scale, bias, alpha, top_k, rows
):
    case = Case(tokens, vocabulary, seed=seed, softcap=softcap, scale=scale, bias=bias)
    targets = case.targets(top_k)
    assert_same(case.support(targets, alpha, rows), case.dense(support_losses(case, targets, alpha)), atol=1e-8)


def test_the_closed_form_of_one_token_and_a_tail():
    head = OutputHead(torch.tensor([[math.log(2)], [0.0], [0.0]], dtype=F64))  # probabilities 1/2, 1/4, 1/4
    one, log = torch.ones(1, 1, dtype=F64), lambda *values: torch.tensor(values, dtype=F64).log()
    value = lambda targets, alpha: float(  # noqa: E731
        support_divergence(one, head, targets, torch.tensor([2]), torch.ones(1, dtype=F64), alpha)[0]
    )
    targets = SupportTargets(torch.tensor([[1]]), log(0.75)[None], log(0.05))
    assert value(targets, 0.0) == pytest.approx(0.75 * math.log(0.75 / 0.25) + 0.25 * math.log(0.25 / 0.75))
    student, teacher = (0.25, 0.25, 0.5), (0.75, 0.05, 0.2)  # token 1, the sampled token 2, the rest
    kl = lambda ps, qs: sum(p * math.log(p / q) for p, q in zip(ps, qs, strict=True))  # noqa: E731
    assert value(targets, 1.0) == pytest.approx(kl(student, teacher))
    middle = [0.3 * t + 0.7 * s for s, t in zip(student, teacher, strict=True)]
    assert value(targets, 0.3) == pytest.approx(0.3 * kl(teacher, middle) + 0.7 * kl(student, middle))


@EACH_ALPHA
def test_over_the_whole_vocabulary_it_is_the_divergence_of_two_local_models(alpha):
    case = Case(7, 11, softcap=5.0, scale=0.6, bias=True)
    head = OutputHead(torch.eye(11, dtype=F64))
    loss, local = chunked_divergence(
        case.hidden, case.head, case.teacher, head, case.tokens, case.weights, Divergence(alpha)
    )
    expected = loss.detach(), local, torch.autograd.grad(3 * loss, case.leaves)
    found = case.support(case.targets(11), alpha)
    assert_same(found, expected)
    for field in dataclasses.fields(TokenStatistics):
        torch.testing.assert_close(getattr(found[1], field.name), getattr(local, field.name), msg=field.name)


@EACH_ALPHA
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-6), (F64, 1e-14)])
@pytest.mark.parametrize("top_k", [1, 5, 40])
def test_a_teacher_equal_to_the_student_gives_no_loss_and_no_gradient(alpha, dtype, most, top_k):
    case = Case(6, 40, dtype=dtype)
    case.teacher = case.logps().detach().to(dtype)
    loss, seen, gradients = case.support(case.targets(top_k), alpha)
    assert abs(float(loss)) < 10 * most and max(float(g.abs().max()) for g in gradients) < 100 * most
    assert bool((seen.agreement_N == 1).all())


@EACH_ALPHA
def test_missing_entries_add_nothing(alpha):
    case = Case(6, 9)
    plain = case.targets(3)
    nan, none = torch.full((6, 2), math.nan, dtype=F64), torch.full((6, 2), -1)
    padded = dataclasses.replace(
        plain, token_ids_NK=torch.cat([none, plain.token_ids_NK], 1), logps_NK=torch.cat([nan, plain.logps_NK], 1)
    )
    assert_same(case.support(padded, alpha), case.support(plain, alpha), rtol=1e-12, atol=1e-13)


@EACH_ALPHA
def test_rows_may_have_unequal_numbers_of_entries(alpha):
    case = Case(4, 9)
    targets = case.targets(4)
    for n in range(3):
        targets.token_ids_NK[n, n + 1 :], targets.logps_NK[n, n + 1 :] = -1, -math.inf
    assert_same(case.support(targets, alpha), case.dense(support_losses(case, targets, alpha)))


@settings(max_examples=40, deadline=None)
@given(**SHAPES, top_k=st.integers(1, 13))
def test_forward_and_reverse_kl_are_lower_bounds_of_those_over_the_vocabulary(tokens, vocabulary, seed, top_k):
    case = Case(tokens, vocabulary, seed=seed)
    _, seen, _ = case.support(case.targets(top_k), 0.0)
    _, whole, _ = case.support(case.targets(vocabulary), 0.0)
    for name in ("kl_forward_N", "kl_reverse_N", "teacher_entropy_N"):
        part = getattr(seen, name)
        assert bool((part >= -1e-12).all()) and bool((part <= getattr(whole, name) + 1e-12).all())


@EACH_ALPHA
@pytest.mark.parametrize("rows", [1, 2, 5, 11, 50])
@pytest.mark.parametrize("block", [1, 3, 100])
def test_neither_chunks_nor_blocks_change_the_result(alpha, rows, block, monkeypatch):
    case = Case(11, 9, softcap=4.0, scale=0.7, bias=True)
    expected = case.support(case.targets(3), alpha, rows=11)
    monkeypatch.setattr(served_losses, "block_rows", lambda logits: block)
    assert_same(case.support(case.targets(3), alpha, rows), expected, rtol=1e-12, atol=1e-13)


@EACH_ALPHA
def test_the_order_of_the_entries_changes_nothing(alpha):
    case = Case(6, 9)
    targets, order = case.targets(5), torch.tensor([3, 0, 4, 1, 2])
    mixed = dataclasses.replace(
        targets, token_ids_NK=targets.token_ids_NK[:, order], logps_NK=targets.logps_NK[:, order]
    )
    found, expected = case.support(mixed, alpha), case.support(targets, alpha)
    assert_same(found, expected, rtol=1e-12, atol=1e-13)
    assert torch.equal(found[1].agreement_N, expected[1].agreement_N)


@EACH_ALPHA
def test_two_calls_with_half_of_the_tokens_each_add_up_to_one_call(alpha):
    case, weights = Case(8, 9), []
    for half in (slice(0, 3), slice(3, 8)):
        weights.append(torch.zeros(8, dtype=F64))
        weights[-1][half] = case.weights[half]
    whole = case.support(case.targets(3), alpha)
    parts = [case.support(case.targets(3), alpha, weights=half) for half in weights]
    gradients = [sum(pair) for pair in zip(*(part[2] for part in parts), strict=True)]
    assert_same((parts[0][0] + parts[1][0], None, gradients), whole)
    alone = support_divergence(
        case.hidden[3:], case.head, _part(case.targets(3), slice(3, 8)), case.tokens[3:], case.weights[3:], alpha
    )
    assert float(alone[0].detach()) == pytest.approx(float(parts[1][0]))


def _part(targets, part):
    return SupportTargets(targets.token_ids_NK[part], targets.logps_NK[part], targets.sampled_logps_N[part])


def test_a_token_of_weight_zero_adds_nothing_to_value_and_gradient():
    case = Case(5, 13)
    weights = torch.tensor([0.0, 0.5, 0.0, 0.25, 0.0], dtype=F64)
    loss, seen, (hidden, _) = case.support(case.targets(3), 0.0, weights=weights)
    assert float(loss) == pytest.approx(float(seen.loss_N @ weights))
    assert not hidden[[0, 2, 4]].any() and hidden[[1, 3]].any(dim=1).all()


@EACH_ALPHA
def test_another_teacher_changes_the_gradient(alpha):
    case, other = Case(5, 9), Case(5, 9, seed=1)
    other.tokens = case.tokens
    ours, theirs = case.support(case.targets(3), alpha), case.support(other.targets(3), alpha)
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(ours[2], theirs[2], strict=True))


def test_importance_weights_are_clipped_and_without_gradient():
    case = Case(9, 11)
    targets = case.targets(3)
    found = case.support(targets, 1.0, rollout_logps_N=case.rollout_logps, max_ratio=0.3)
    logps = case.logps().detach().gather(1, case.tokens[:, None])[:, 0]
    ratios = (logps - case.rollout_logps).exp().clamp(max=0.3)
    assert_same(found, case.dense(support_losses(case, targets, 1.0), case.weights * ratios))
    torch.testing.assert_close(found[1].ratio_N, ratios)
    assert float(ratios.max()) == 0.3 and float(ratios.min()) < 0.3


def test_statistics_of_the_student_are_exact_and_those_of_the_teacher_over_support_and_tail():
    case = Case(6, 17)
    _, seen, _ = case.support(case.targets(4), 0.0)
    student = case.logps().detach()
    teacher = [outcomes(case.teacher[n], case.targets(4).token_ids_NK[n].tolist(), whole=False) for n in range(6)]
    expected = {
        "student_entropy_N": -(student.exp() * student).sum(-1),
        "teacher_entropy_N": torch.stack([-(row.exp() * row).sum() for row in teacher]),
        "agreement_N": (student.argmax(-1) == case.teacher.argmax(-1)).double(),
        "logp_N": student.gather(1, case.tokens[:, None])[:, 0],
        "ratio_N": torch.ones(6, dtype=F64),
    }
    for name, values in expected.items():
        torch.testing.assert_close(getattr(seen, name), values, msg=name)
    torch.testing.assert_close(seen.loss_N, seen.kl_forward_N)


class FixedLogits:
    """One token whose logits are given; the head is the identity."""

    def __init__(self, logits, dtype=torch.float32):
        self.logits = torch.tensor([logits], dtype=dtype, requires_grad=True)

    def support(self, ids, logps, alpha, token=0, sampled=None):
        targets = SupportTargets(
            torch.tensor([ids]), torch.tensor([logps]), torch.tensor([logps[0] if sampled is None else sampled])
        )
        head = OutputHead(torch.eye(self.logits.shape[1], dtype=self.logits.dtype))
        weights = torch.ones(1, dtype=self.logits.dtype)
        loss, seen = support_divergence(self.logits, head, targets, torch.tensor([token]), weights, alpha)
        return float(loss.detach()), seen, torch.autograd.grad(loss, self.logits)[0][0]


def test_a_tail_of_the_student_below_the_precision_of_float32_keeps_value_and_gradient():
    student = FixedLogits([300.0, 0.0, 0.0])
    loss, _, gradient = student.support([0], [math.log(0.75)], 0.0)
    tail = math.log(2) - 300
    assert loss == pytest.approx(0.75 * math.log(0.75) + 0.25 * (math.log(0.25) - tail))
    torch.testing.assert_close(gradient, torch.tensor([0.25, -0.125, -0.125]))


def test_a_teacher_without_a_tail_asks_nothing_of_the_students_tail_in_forward_kl():
    loss, _, gradient = FixedLogits([0.0, 0.0, 0.0, 0.0]).support([0, 1], [math.log(0.5)] * 2, 0.0)
    assert loss == pytest.approx(math.log(2), rel=1e-6)
    torch.testing.assert_close(gradient, torch.tensor([-0.25, -0.25, 0.25, 0.25]))


def test_a_teacher_without_a_tail_counts_as_one_at_the_floor_in_reverse_kl():
    loss, _, _ = FixedLogits([0.0, 0.0, 0.0, 0.0]).support([0, 1], [math.log(0.5)] * 2, 1.0)
    assert loss == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5 / TAIL_FLOOR), rel=1e-6)


@EACH_ALPHA
def test_rounding_that_brings_the_teachers_probabilities_above_one_leaves_no_tail(alpha):
    more, exact = (FixedLogits([1.0, 1.0, -8.0]).support([0, 1], [math.log(p)] * 2, alpha) for p in (0.5001, 0.5))
    inside = 2 * 0.5001 * math.log(0.5001 * (2 + math.exp(-9)))
    assert float(more[1].kl_forward_N) == pytest.approx(inside, rel=1e-3)
    assert more[0] == pytest.approx(exact[0], abs=3e-4)
    torch.testing.assert_close(more[2], exact[2], rtol=0, atol=3e-4)


EXTREMES = st.lists(st.floats(-1e4, 1e4, width=32), min_size=5, max_size=5)


@settings(max_examples=80, deadline=None)
@given(logits=EXTREMES, teacher=EXTREMES, alpha=ALPHAS, top_k=st.integers(1, 5), token=st.integers(0, 4))
def test_extreme_values_stay_finite(logits, teacher, alpha, top_k, token):
    logps = torch.tensor(teacher).log_softmax(-1)
    top = logps.topk(top_k)
    student = FixedLogits(logits)
    loss, seen, gradient = student.support(
        top.indices.tolist(), top.values.tolist(), alpha, token, sampled=float(logps[token])
    )
    assert math.isfinite(loss) and loss > -1e-2 and bool(gradient.isfinite().all())
    assert all(bool(getattr(seen, field.name).isfinite().all()) for field in dataclasses.fields(TokenStatistics))


@pytest.mark.parametrize(
    ("column", "logps", "ids", "alpha", "message"),
    [
        (1, math.nan, None, 0.0, r"token 2 of 4: expected finite log-probabilities, found \["),
        (1, -math.inf, None, 0.0, "token 2 of 4: expected finite log-probabilities"),
        (1, 0.5, None, 0.0, "token 2 of 4: expected probabilities with a sum of at most 1"),
        (slice(None), -1.0, -1, 0.0, "token 2 of 4: expected at least one of the teacher's likeliest tokens"),
        (1, -9.0, 9, 1.0, r"token 2 of 4: expected ids from 0 to 8, or -1, found \["),
        (slice(None), -9.0, 5, 1.0, "token 2 of 4: expected each id once"),
    ],
)
def test_targets_that_are_no_distribution_are_refused_with_the_token(column, logps, ids, alpha, message):
    case = Case(4, 9)
    targets = case.targets(3)
    targets.logps_NK[2, column] = logps
    if ids is not None:
        targets.token_ids_NK[2, column] = ids
    with pytest.raises(ValueError, match=message):
        case.support(targets, alpha)


def test_a_missing_log_probability_of_the_sampled_token_is_refused_where_it_is_needed():
    case = Case(4, 9)
    targets = case.targets(3)
    targets.sampled_logps_N[1] = math.nan
    assert math.isfinite(float(case.support(targets, 0.0)[0]))
    with pytest.raises(ValueError, match="token 1 of 4: expected a finite log-probability of the sampled token"):
        case.support(targets, 0.5)


def test_targets_for_another_number_of_tokens_and_alphas_without_a_meaning_are_refused():
    case, other = Case(4, 9), Case(5, 9)
    with pytest.raises(ValueError, match="with N = 4 and K > 0, found"):
        case.support(other.targets(3), 0.0)
    with pytest.raises(ValueError, match=r"expected 0 <= alpha <= 1, found 1\.5"):
        case.support(case.targets(3), 1.5)


@EACH_ALPHA
def test_bfloat16_inputs_are_reduced_in_float32(alpha):
    case = Case(40, 300, width=32, dtype=torch.bfloat16)
    targets = case.targets(20)
    loss, seen, gradients = case.support(targets, alpha, rows=7)
    expected, _, expected_gradients = case.dense(support_losses(case, targets, alpha))
    assert seen.loss_N.dtype == torch.float32 and gradients[0].dtype == torch.bfloat16
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted.to(torch.bfloat16), rtol=2e-2, atol=1e-2)


def test_float32_is_within_the_promised_tolerance_of_float64():
    case, precise = Case(50, 400, dtype=torch.float32), Case(50, 400)
    for alpha in (0.0, 0.5, 1.0):
        found, expected = case.support(case.targets(20), alpha), precise.support(precise.targets(20), alpha)
        assert_same(found, (expected[0].float(), None, [g.float() for g in expected[2]]), rtol=1e-4, atol=1e-5)


def test_a_head_that_is_frozen_gets_no_gradient():
    case = Case(5, 13)
    case.weight.requires_grad_(False)
    loss, _ = support_divergence(case.hidden, case.head, case.targets(3), case.tokens, case.weights, 0.0)
    loss.backward()
    assert case.weight.grad is None and case.hidden.grad.any()


def test_a_head_tied_to_the_embedding_gets_the_sum_of_both_gradients():
    case, ids = Case(5, 13), torch.tensor([1, 2, 3, 1, 0])
    tied = case.weight.detach().clone().requires_grad_()
    case.hidden, case.weight, targets = tied[ids], tied, case.targets(3)
    ours, _ = support_divergence(case.hidden, case.head, targets, case.tokens, case.weights, 0.0)
    (found,) = torch.autograd.grad(ours, tied, retain_graph=True)
    (expected,) = torch.autograd.grad((support_losses(case, targets, 0.0) * case.weights).sum(), tied)
    torch.testing.assert_close(found, expected)


def test_without_gradients_the_value_is_the_same_and_nothing_is_attached():
    case = Case(5, 13)
    with torch.no_grad():
        loss, _ = support_divergence(case.hidden, case.head, case.targets(3), case.tokens, case.weights, 0.0)
    assert not loss.requires_grad and float(loss) == pytest.approx(float(case.support(case.targets(3), 0.0)[0]))


def test_the_gradient_can_be_taken_once():
    case = Case(3, 5)
    loss, _ = support_divergence(case.hidden, case.head, case.targets(3), case.tokens, case.weights, 0.0)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


# The policy gradient of chunks


@settings(max_examples=60, deadline=None)
@given(
    sizes=SIZES,
    vocabulary=st.integers(2, 13),
    seed=st.integers(0, 10**6),
    **HEADS,
    credit=st.sampled_from(["dpca", "uniform"]),
    clip=st.sampled_from([0.3, 2.0, NO_CLIP]),
    rows=st.integers(1, 8),
    block=st.integers(1, 8),
)
def test_value_and_gradients_of_the_policy_are_those_of_the_definition(
    sizes, vocabulary, seed, softcap, scale, bias, credit, clip, rows, block
):
    targets = chunked(sizes, seed=seed)
    case = Case(len(targets.chunks_N), vocabulary, seed=seed, softcap=softcap, scale=scale, bias=bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served_losses, "block_rows", lambda logits: block)
        found = case.policy(targets, rows, credit, clip)
    assert_same(found, case.dense(policy_losses(case, targets, credit, clip)))


def test_the_closed_form_of_a_chunk_of_two_tokens():
    head = OutputHead(torch.tensor([[math.log(2)], [0.0], [0.0]], dtype=F64))  # probabilities 1/2, 1/4, 1/4
    hidden, ones = torch.ones(2, 1, dtype=F64), torch.ones(2, dtype=F64)
    targets = ChunkTargets(
        torch.tensor([0, 0]), torch.tensor([math.log(1 / 2)]), None, torch.zeros(2, dtype=torch.bool)
    )
    value = lambda credit, clip: chunk_policy_gradient(  # noqa: E731
        hidden, head, targets, torch.tensor([0, 1]), ones, credit=credit, clip=clip
    )[1].loss_N.tolist()
    log2 = math.log(2)  # the student's chunk has log-likelihood -3 log 2, so the advantage is 2 log 2
    assert value("dpca", NO_CLIP) == pytest.approx([2 / 3 * log2 * log2, 4 / 3 * log2 * 2 * log2])
    assert value("uniform", NO_CLIP) == pytest.approx([log2 * log2, log2 * 2 * log2])
    assert value("uniform", 0.25) == pytest.approx([0.25 * log2, 0.25 * 2 * log2])


def test_with_chunks_of_one_token_it_is_the_sampled_token_mode():
    case = Case(7, 11, softcap=5.0, scale=0.6, bias=True)
    one, two = (
        chunk_policy_gradient(
            case.hidden, case.head, dataclasses.replace(chunked([1] * 7), logps_M=case.targets(1).sampled_logps_N),
            case.tokens, case.weights, credit="dpca", clip=NO_CLIP,
        ),
        chunked_divergence(
            case.hidden, case.head, case.teacher, OutputHead(torch.eye(11, dtype=F64)), case.tokens, case.weights,
            Divergence(1.0, mode="sampled_token"),
        ),
    )  # fmt: skip
    gradients = [torch.autograd.grad(loss, case.leaves) for loss, _ in (one, two)]
    assert_same((one[0].detach(), None, gradients[0]), (two[0].detach(), None, gradients[1]))
    torch.testing.assert_close(one[1].loss_N, two[1].loss_N)


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 10**6), credit=st.sampled_from(["dpca", "uniform"]))
def test_credits_sum_to_the_advantage_of_their_chunk(sizes, seed, credit):
    targets = chunked(sizes, seed=seed)
    case = Case(len(targets.chunks_N), 9, seed=seed)
    _, seen, _ = case.policy(targets, credit=credit, clip=0.1)
    for chunk, teacher in enumerate(targets.logps_M.tolist()):
        members = targets.chunks_N == chunk
        advantage = teacher - float(seen.logp_N[members].sum())
        assert -float(seen.kl_reverse_N[members].sum()) == pytest.approx(advantage)


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 10**6), clip=st.floats(0.01, 3))
def test_no_advantage_is_larger_than_the_clip(sizes, seed, clip):
    targets = chunked(sizes, seed=seed)
    case = Case(len(targets.chunks_N), 9, seed=seed)
    _, seen, _ = case.policy(targets, clip=clip)
    used = (seen.loss_N / -seen.logp_N).abs()
    assert bool((used <= clip * (1 + 1e-12)).all())
    inside = seen.kl_reverse_N.abs() < clip
    torch.testing.assert_close(seen.loss_N[inside], (seen.kl_reverse_N * seen.logp_N)[inside])


def test_a_student_that_is_sure_of_a_whole_chunk_shares_its_advantage_equally():
    head = OutputHead(torch.tensor([[1000.0], [0.0]]))
    targets = ChunkTargets(torch.tensor([0, 0]), torch.tensor([-3.0]), None, torch.zeros(2, dtype=torch.bool))
    _, seen = chunk_policy_gradient(
        torch.ones(2, 1), head, targets, torch.tensor([0, 0]), torch.ones(2), credit="dpca", clip=NO_CLIP
    )
    assert seen.kl_reverse_N.tolist() == [1.5, 1.5]


def test_tokens_without_a_chunk_have_no_loss_and_no_gradient():
    case, targets = Case(6, 9), chunked([-2, 2, -1, 1])
    _, seen, (hidden, _) = case.policy(targets)
    silent = targets.chunks_N < 0
    assert not seen.loss_N[silent].any() and not hidden[silent].any()
    assert seen.loss_N[~silent].all() and hidden[~silent].any(dim=1).all()
    assert bool(seen.kl_reverse_N[silent].isnan().all()) and bool(seen.logp_N.isfinite().all())
    _, _, gradients = case.policy(chunked([-6]))
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("block", [1, 4, 100])
def test_a_chunk_is_never_cut_wherever_logits_are(rows, block, monkeypatch):
    case, targets = Case(14, 9, bias=True), chunked([1, 4, -1, 5, 1, 2])
    expected = case.policy(targets, rows=14)
    monkeypatch.setattr(served_losses, "block_rows", lambda logits: block)
    assert_same(case.policy(targets, rows), expected, rtol=1e-12, atol=1e-13)


def test_a_long_run_of_tokens_without_a_chunk_may_be_cut_anywhere():
    assert served_losses._chunk_ends(chunked([-3, 2, 1, -2]).chunks_N) == [1, 2, 3, 5, 6, 7, 8]


def test_another_teacher_changes_the_gradient_of_the_policy():
    case = Case(6, 9)
    ours, theirs = case.policy(chunked([2, 1, 3])), case.policy(chunked([2, 1, 3], seed=1))
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(ours[2], theirs[2], strict=True))


@settings(max_examples=40, deadline=None)
@given(alpha=ALPHAS, seed=st.integers(0, 10**6), rows=st.integers(1, 8))
def test_dense_tokens_have_the_divergence_and_the_others_the_policy(alpha, seed, rows):
    case = Case(7, 9, seed=seed)
    targets = chunked([1, 2, 1, -2, 1], seed=seed, dense=case.targets(3), marked=[0, 3, 4])
    targets.dense.token_ids_NK[1], targets.dense.logps_NK[1] = 99, math.nan  # not dense: not read
    targets.dense.sampled_logps_N[1] = targets.logps_M[0] = math.nan
    found = case.policy(targets, rows, clip=0.5, alpha=alpha)
    readable = dataclasses.replace(targets, logps_M=targets.logps_M.nan_to_num(0.0))
    assert_same(found, case.dense(policy_losses(case, readable, "dpca", 0.5, alpha)))
    _, dense, _ = case.support(case.targets(3), alpha)
    for name in ("loss_N", "kl_forward_N", "kl_reverse_N", "teacher_entropy_N", "agreement_N"):
        torch.testing.assert_close(getattr(found[1], name)[targets.dense_N], getattr(dense, name)[targets.dense_N])
    for name in ("kl_forward_N", "teacher_entropy_N", "agreement_N"):
        assert bool(getattr(found[1], name)[~targets.dense_N].isnan().all())
    torch.testing.assert_close(found[1].student_entropy_N, dense.student_entropy_N)


@settings(max_examples=40, deadline=None)
@given(logits=EXTREMES, teacher=st.floats(-1e4, 0), credit=st.sampled_from(["dpca", "uniform"]))
def test_extreme_values_stay_finite_in_the_policy(logits, teacher, credit):
    hidden = torch.tensor([logits, logits[::-1]], requires_grad=True)
    targets = ChunkTargets(torch.tensor([0, 0]), torch.tensor([teacher]), None, torch.zeros(2, dtype=torch.bool))
    loss, _ = chunk_policy_gradient(
        hidden, OutputHead(torch.eye(5)), targets, torch.tensor([0, 3]), torch.ones(2), credit=credit, clip=5.0
    )
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert math.isfinite(float(loss.detach())) and float(gradient.abs().max()) <= 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunks_N": [0, 0, 1, 2]}, "token 3 of 4: expected a chunk from 0 to 1, or -1, found 2"),
        ({"chunks_N": [0, 1, 0, -2]}, "token 3 of 4: expected a chunk from 0 to 1, or -1, found -2"),
        ({"chunks_N": [0, 1, 0, 1]}, "token 0 of 4: expected the tokens of its chunk to be neighbours, found 0"),
        ({"chunks_N": [1, -1, 1, 0]}, "token 0 of 4: expected the tokens of its chunk to be neighbours, found 1"),
        ({"logps_M": [-1.0, math.nan]}, "token 2 of 4: expected a finite log-likelihood of its chunk, at most 0"),
        ({"logps_M": [-1.0, 0.5]}, "token 2 of 4: expected a finite log-likelihood of its chunk, at most 0, found 0.5"),
        ({"dense_N": [True, False, False, False]}, "expected dense targets for the 1 tokens that dense_N marks"),
        ({"dense_N": [False]}, r"expected chunks_N and dense_N \[4\] and logps_M \[M\], found"),
    ],
)
def test_chunks_that_make_no_sense_are_refused(changes, message):
    case, targets = Case(4, 9), chunked([2, 2])
    changed = {name: torch.tensor(values, dtype=getattr(targets, name).dtype) for name, values in changes.items()}
    with pytest.raises(ValueError, match=message):
        case.policy(dataclasses.replace(targets, **changed))


def test_a_dense_token_within_a_longer_chunk_is_refused():
    case = Case(4, 9)
    with pytest.raises(ValueError, match="token 1 of 4: expected a dense token to be a chunk of its own"):
        case.policy(chunked([3, 1], dense=case.targets(3), marked=[1]))


@pytest.mark.parametrize("changes", [{"credit": "all"}, {"clip": 0.0}, {"clip": -1.0}, {"alpha": 2.0}])
def test_settings_without_a_meaning_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        Case(2, 9).policy(chunked([2]), **changes)
