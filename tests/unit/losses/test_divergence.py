"""The chunked divergence is the dense formula: in value, in gradient, whatever the chunks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.experimental.sdft import loss_utils as trl
from trl.trainer.utils import selective_log_softmax

from trainer.losses import divergence as losses
from trainer.losses.divergence import Divergence, TokenStatistics, chunked_divergence
from trainer.models import output_head
from trainer.models.output_head import OutputHead

F64 = torch.float64


class Case:
    """Random hidden states and heads; the student's want a gradient."""

    def __init__(self, tokens, vocabulary, width=6, *, seed=0, dtype=F64, softcap=None, scale=1.0, bias=False):
        draw = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=F64).to(dtype)  # noqa: E731
        self.hidden, self.weight = normal(tokens, width).requires_grad_(), normal(vocabulary, width).requires_grad_()
        self.bias = normal(vocabulary).requires_grad_() if bias else None
        self.teacher_hidden, self.teacher_weight = normal(tokens, width + 1), normal(vocabulary, width + 1)
        self.tokens = torch.randint(vocabulary, (tokens,), generator=draw)
        self.weights = torch.rand(tokens, generator=draw, dtype=F64).to(dtype)
        self.rollout_logps = normal(tokens) - 2
        self.softcap, self.scale = softcap, scale

    @property
    def leaves(self):
        return [leaf for leaf in (self.hidden, self.weight, self.bias) if leaf is not None]

    def ours(self, divergence, chunk_rows=3, **changes):
        """Loss, statistics and gradients of our function."""
        loss, seen = chunked_divergence(
            self.hidden,
            OutputHead(self.weight, self.bias, self.scale, self.softcap),
            changes.get("teacher_hidden", self.teacher_hidden),
            OutputHead(changes.get("teacher_weight", self.teacher_weight)),
            self.tokens,
            changes.get("weights", self.weights),
            divergence,
            self.rollout_logps,
            chunk_bytes=4 * self.weight.shape[0] * chunk_rows,
        )
        return loss.detach(), seen, torch.autograd.grad(3 * loss, self.leaves)

    def logits(self, temperature):
        student = self.hidden.double() @ self.weight.double().t()
        student = self.scale * (student if self.bias is None else student + self.bias.double())
        if self.softcap is not None:
            student = self.softcap * torch.tanh(student / self.softcap)
        return student / temperature, self.teacher_hidden.double() @ self.teacher_weight.double().t() / temperature

    def dense(self, divergence):
        """Loss and gradients of TRL's functions over whole logits, by autograd in float64."""
        student, teacher = self.logits(divergence.temperature)
        match divergence.mode:
            case "full_logits":
                loss_N = trl.compute_full_logit_self_distillation_loss(
                    student, teacher, distillation_alpha=divergence.alpha
                )
            case "topk_logits":
                loss_N = trl.compute_topk_self_distillation_loss(
                    student, teacher, distillation_topk=divergence.top_k, distillation_alpha=divergence.alpha,
                    distillation_add_tail=divergence.add_tail,
                )  # fmt: skip
            case "sampled_token":
                loss_N = trl.compute_sampled_token_self_distillation_loss(
                    student, teacher, self.tokens, distillation_alpha=divergence.alpha
                )
        if divergence.max_ratio is not None:
            logps = selective_log_softmax(student, self.tokens)
            loss_N = trl.apply_importance_sampling_clipping(loss_N, logps, self.rollout_logps, divergence.max_ratio)
        loss = (loss_N * self.weights).sum()
        return loss.detach(), torch.autograd.grad(3 * loss, self.leaves)


def assert_equal(case, divergence, rtol=1e-9, atol=1e-10, **changes):
    loss, _, gradients = case.ours(divergence, **changes)
    expected, expected_gradients = case.dense(divergence)
    torch.testing.assert_close(loss, expected.to(loss.dtype), rtol=rtol, atol=atol)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)


ALPHAS = st.sampled_from([0.0, 1.0]) | st.floats(0.05, 0.95)
SHAPES = {"tokens": st.integers(0, 9), "vocabulary": st.integers(2, 23), "seed": st.integers(0, 10**6)}


@settings(max_examples=60, deadline=None)
@given(
    **SHAPES,
    alpha=ALPHAS,
    temperature=st.floats(0.3, 3),
    softcap=st.none() | st.floats(2, 30),
    scale=st.floats(0.2, 2),
    bias=st.booleans(),
    chunk_rows=st.integers(1, 10),
)
def test_value_and_gradients_are_those_of_the_dense_formula(
    tokens, vocabulary, seed, alpha, temperature, softcap, scale, bias, chunk_rows
):
    case = Case(tokens, vocabulary, seed=seed, softcap=softcap, scale=scale, bias=bias)
    assert_equal(case, Divergence(alpha, temperature), chunk_rows=chunk_rows)


@settings(max_examples=40, deadline=None)
@given(**SHAPES, alpha=ALPHAS, top_k=st.integers(1, 5), add_tail=st.booleans())
def test_over_the_top_k_and_the_tail_too(tokens, vocabulary, seed, alpha, top_k, add_tail):
    case = Case(tokens, vocabulary + 5, seed=seed)
    divergence = Divergence(alpha, mode="topk_logits", top_k=top_k, add_tail=add_tail)
    assert_equal(case, divergence, rtol=1e-6, atol=1e-7)  # the tail's mass is a difference


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_tail_that_is_too_small_to_count_has_the_gradient_of_trl(alpha):
    case = Case(6, 12)
    with torch.no_grad():
        case.weight.mul_(8)
    assert_equal(case, Divergence(alpha, mode="topk_logits", top_k=4), rtol=1e-6, atol=1e-7)


def test_at_the_sampled_token_too():
    assert_equal(Case(7, 11), Divergence(1.0, mode="sampled_token"))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_importance_weights_are_clipped_and_without_gradient(alpha):
    case = Case(9, 11)
    assert_equal(case, Divergence(alpha, max_ratio=0.3))
    _, seen, _ = case.ours(Divergence(alpha, max_ratio=0.3))
    assert float(seen.ratio_N.max()) == 0.3 and float(seen.ratio_N.min()) < 0.3


def test_the_closed_form_of_two_outcomes():
    student, teacher = math.log(3), 0.0  # probabilities 3/4, 1/4 and 1/2, 1/2
    heads = [OutputHead(torch.tensor([[logit], [0.0]], dtype=F64)) for logit in (student, teacher)]
    one = torch.ones(1, 1, dtype=F64)
    value = lambda alpha: float(  # noqa: E731
        chunked_divergence(
            one, heads[0], one, heads[1], torch.tensor([0]), torch.ones(1, dtype=F64), Divergence(alpha)
        )[0]
    )
    forward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    reverse = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    middle = (0.625, 0.375)
    halves = [sum(p * math.log(p / m) for p, m in zip(ps, middle, strict=True)) for ps in ((0.5, 0.5), (0.75, 0.25))]
    assert value(0.0) == pytest.approx(forward) and value(1.0) == pytest.approx(reverse)
    assert value(0.5) == pytest.approx(0.5 * halves[0] + 0.5 * halves[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_equal_models_have_a_loss_and_a_gradient_of_exactly_zero(dtype, alpha):
    case = Case(9, 300, dtype=dtype)
    same = {"teacher_hidden": case.hidden.detach(), "teacher_weight": case.weight.detach()}
    loss, seen, gradients = case.ours(Divergence(alpha, 0.7), **same)
    assert float(loss) == 0 and all(not gradient.any() for gradient in gradients)
    assert bool((seen.agreement_N == 1).all()) and not seen.kl_reverse_N.any()


def test_equal_models_have_a_jensen_shannon_divergence_of_zero_up_to_rounding():
    case = Case(9, 300, dtype=torch.float32)
    same = {"teacher_hidden": case.hidden.detach(), "teacher_weight": case.weight.detach()}
    loss, _, gradients = case.ours(Divergence(0.5), **same)
    assert abs(float(loss)) < 1e-6 and max(float(g.abs().max()) for g in gradients) < 1e-6


def test_a_token_of_weight_zero_adds_nothing_to_value_and_gradient():
    case = Case(5, 13)
    weights = torch.tensor([0.0, 0.5, 0.0, 0.25, 0.0], dtype=F64)
    loss, seen, (hidden, _) = case.ours(Divergence(), weights=weights)
    assert float(loss) == pytest.approx(float(seen.loss_N @ weights))
    assert not hidden[[0, 2, 4]].any() and hidden[[1, 3]].any(dim=1).all()
    loss, _, gradients = case.ours(Divergence(), weights=torch.zeros(5, dtype=F64))
    assert float(loss) == 0 and all(not gradient.any() for gradient in gradients)


def test_statistics_are_those_of_both_distributions():
    case = Case(6, 17)
    _, seen, _ = case.ours(Divergence(0.4, 0.8))
    student, teacher = (logits.detach().log_softmax(-1) for logits in case.logits(0.8))
    expected = {
        "kl_forward_N": (teacher.exp() * (teacher - student)).sum(-1),
        "kl_reverse_N": (student.exp() * (student - teacher)).sum(-1),
        "student_entropy_N": -(student.exp() * student).sum(-1),
        "teacher_entropy_N": -(teacher.exp() * teacher).sum(-1),
        "agreement_N": (student.argmax(-1) == teacher.argmax(-1)).double(),
        "logp_N": student.gather(1, case.tokens[:, None])[:, 0],
        "ratio_N": torch.ones(6, dtype=F64),
    }
    for name, values in expected.items():
        torch.testing.assert_close(getattr(seen, name), values, msg=name)
    parts = seen.split([2, 0, 4])
    assert [len(part.loss_N) for part in parts] == [2, 0, 4]
    torch.testing.assert_close(TokenStatistics.join(parts).loss_N, seen.loss_N)


def test_bfloat16_inputs_are_reduced_in_float32():
    case = Case(40, 500, width=32, dtype=torch.bfloat16)
    loss, seen, gradients = case.ours(Divergence(), chunk_rows=7)
    expected, expected_gradients = case.dense(Divergence())
    assert seen.loss_N.dtype == torch.float32 and gradients[0].dtype == torch.bfloat16
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)  # its weights, too, are bfloat16
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted.to(torch.bfloat16), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("device", "weights", "autocast", "factors"),
    [
        ("cuda", torch.float32, torch.bfloat16, torch.bfloat16),
        ("cuda", torch.bfloat16, None, torch.bfloat16),
        ("cuda", torch.float32, None, torch.float32),
        ("cuda", torch.float32, torch.float16, torch.float32),  # its range is too small for weighted gradients
        ("cpu", torch.bfloat16, None, torch.float32),
    ],
)
def test_factors_are_bfloat16_where_a_gpu_trains_in_it_and_precise_elsewhere(device, weights, autocast, factors):
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", autocast is not None)
    torch.set_autocast_dtype("cuda", autocast or before[1])
    try:
        assert output_head.factor_dtype(device, weights, torch.float32) == factors
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_number_of_tokens_compared_at_once_changes_nothing(alpha, rows, monkeypatch):
    monkeypatch.setattr(losses, "block_rows", lambda logits: rows)
    assert_equal(Case(11, 13, softcap=4.0, scale=0.7, bias=True), Divergence(alpha, 0.8), chunk_rows=4)


def test_a_head_that_is_frozen_gets_no_gradient():
    case = Case(5, 13)
    case.weight.requires_grad_(False)
    loss, _ = chunked_divergence(
        case.hidden, OutputHead(case.weight), case.teacher_hidden, OutputHead(case.teacher_weight), case.tokens,
        case.weights, Divergence(),
    )  # fmt: skip
    loss.backward()
    assert case.weight.grad is None and case.hidden.grad.any()


def test_a_head_tied_to_the_embedding_gets_the_sum_of_both_gradients():
    case = Case(5, 13, width=7)
    tied, ids = case.teacher_weight.clone().requires_grad_(), torch.tensor([1, 2, 3, 1, 0])

    def gradient(compute):
        (found,) = torch.autograd.grad(compute(tied[ids], tied), tied)
        return found

    def ours(hidden, weight):
        heads = OutputHead(weight), OutputHead(case.teacher_weight)
        return chunked_divergence(
            hidden, heads[0], case.teacher_hidden, heads[1], case.tokens, case.weights, Divergence()
        )[0]

    def dense(hidden, weight):
        logits = hidden @ weight.t(), case.teacher_hidden @ case.teacher_weight.t()
        return (trl.compute_full_logit_self_distillation_loss(*logits, distillation_alpha=0.0) * case.weights).sum()

    torch.testing.assert_close(gradient(ours), gradient(dense))


def test_the_gradient_can_be_taken_once():
    case = Case(3, 5)
    loss, _ = chunked_divergence(
        case.hidden, OutputHead(case.weight), case.teacher_hidden, OutputHead(case.teacher_weight), case.tokens,
        case.weights, Divergence(),
    )  # fmt: skip
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


@pytest.mark.parametrize(
    "settings_",
    [
        {"alpha": 1.5}, {"alpha": -0.1}, {"temperature": 0.0}, {"mode": "half"}, {"mode": "topk_logits"},
        {"mode": "sampled_token"},
    ],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(settings_):
    with pytest.raises(ValueError, match=r"expected|needs|found"):
        Divergence(**settings_)
