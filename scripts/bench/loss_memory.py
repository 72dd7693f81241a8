#!/usr/bin/env python3
"""Peak extra memory and time of the distillation loss and its backward pass: ours, TRL's two and Liger's.

    .venv/bin/python scripts/bench/loss_memory.py [--quick] [--json FILE] [--device cpu|cuda]

Given are the last hidden states of one sequence and the output heads of student and teacher; a call computes the mean
divergence of its tokens and the gradients of the student's hidden states and head. On the CPU all is float32; on CUDA
the hidden states are bfloat16 and the heads float32 under autocast, as in training.

Memory is what a call needs beyond its inputs, at the peak. The two gradients count, for all alike. On the CPU each
number comes from a process of its own that made one tiny call before (so libraries are loaded and their threads
started, and nothing else): highest resident memory during the call less resident memory before it. On CUDA it is the
same difference of what torch's allocator hands out. A compiled variant is called at full size before, because a
compiler's memory is no step's.

Time: one process a variant, all of them alive, warm and asked in turn.

Shapes: T tokens, V vocabulary, H hidden.
"""

import argparse
import math
import multiprocessing
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from record import machine, ratio, spread, table, versions, write
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
LIGER = "0.8.5"
LIGER_FOLDER = ROOT / ".bench" / f"liger-kernel-{LIGER}"
LOSS_TOLERANCE = 1e-4  # relative, in float32
GRADIENT_TOLERANCE = 1e-4  # largest difference over largest entry, in float32


@dataclass(frozen=True)
class Case:
    """A size to measure at; alpha as in `Divergence` of `trainer.losses`: 0 is the forward KL, 1 the reverse KL."""

    vocabulary: int
    tokens: int
    hidden: int
    alpha: float = 0.0

    @property
    def name(self) -> str:
        return f"v{self.vocabulary}_t{self.tokens}" + (f"_alpha{self.alpha:g}" if self.alpha else "")


TINY = Case(97, 5, 16)  # loads what is loaded once a process
CHECKED = Case(40_009, 520, 32)  # small enough for float64, more than one chunk for everyone who chunks


@dataclass(frozen=True)
class Inputs:
    """What a model's backbone hands to the loss; the student's tensors want gradients."""

    student_TH: Tensor
    student_VH: Tensor
    teacher_TH: Tensor
    teacher_VH: Tensor
    tokens_T: Tensor

    @classmethod
    def random(cls, case: Case, device: str, dtype: torch.dtype) -> "Inputs":
        """Logits of standard deviation 2, and a teacher that differs from its student by about half a nat."""
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        student_TH = normal(case.tokens, case.hidden)
        student_VH = normal(case.vocabulary, case.hidden).mul_(2 / math.sqrt(case.hidden))
        teacher_TH = normal(case.tokens, case.hidden).mul_(0.5).add_(student_TH)
        teacher_VH = normal(case.vocabulary, case.hidden).mul_(0.2 / math.sqrt(case.hidden)).add_(student_VH)
        tokens_T = torch.randint(case.vocabulary, (case.tokens,), generator=generator)
        heads = torch.float32 if dtype == torch.bfloat16 else dtype
        student_TH, teacher_TH = student_TH.to(device, dtype), teacher_TH.to(device, dtype)
        student_VH, teacher_VH = student_VH.to(device, heads), teacher_VH.to(device, heads)
        inputs = cls(student_TH, student_VH, teacher_TH, teacher_VH, tokens_T.to(device))
        for x in inputs.student:
            x.requires_grad_()
        return inputs

    @property
    def student(self) -> tuple[Tensor, Tensor]:
        return self.student_TH, self.student_VH


Loss = Callable[[Inputs, float], Tensor]


# ---- the variants: each returns the mean divergence of a sequence's tokens as a function of the inputs and alpha


def ours() -> Loss:
    """`trainer.losses.divergence.chunked_divergence`, each token weighing 1/T."""
    from trainer.losses.divergence import Divergence, chunked_divergence
    from trainer.models.output_head import OutputHead

    def loss(x: Inputs, alpha: float) -> Tensor:
        weights_T = torch.full(x.tokens_T.shape, 1 / len(x.tokens_T), device=x.tokens_T.device)
        student, teacher = OutputHead(x.student_VH), OutputHead(x.teacher_VH)
        divergence = Divergence(alpha=alpha)
        return chunked_divergence(x.student_TH, student, x.teacher_TH, teacher, x.tokens_T, weights_T, divergence)[0]

    return loss


def trl_full() -> Loss:
    """What `SDFTTrainer` does: both models' logits, over a temperature, then the divergence of all of them.

    They are float32 whatever the models are, because accelerate converts the outputs of a mixed-precision model.
    """
    from trl.experimental.sdft.loss_utils import compute_full_logit_self_distillation_loss

    def logits(hidden_TH: Tensor, weight_VH: Tensor, temperature: float = 1.0) -> Tensor:
        return F.linear(hidden_TH.unsqueeze(0), weight_VH).float() / temperature

    def loss(x: Inputs, alpha: float) -> Tensor:
        student_logits = logits(x.student_TH, x.student_VH)
        with torch.no_grad():
            teacher_logits = logits(x.teacher_TH, x.teacher_VH)
        losses = compute_full_logit_self_distillation_loss(student_logits, teacher_logits, distillation_alpha=alpha)
        mask = torch.ones_like(losses)
        return ((losses * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()

    return loss


def trl_chunked() -> Loss:
    """What TRL's `DistillationTrainer` does, on the tiles that TRL chose."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    def loss(x: Inputs, alpha: float) -> Tensor:
        student, teacher = (x.student_TH, x.student_VH, None), (x.teacher_TH, x.teacher_VH, None)
        return ChunkedDivergenceFunction.apply(*student, *teacher, alpha)[0].mean()

    return loss


def liger(compiled: bool, chunk_size: int = 1024) -> Loss:
    """Liger's chunked loss without its hard part; its own default is compiled, in chunks of 1,024 tokens."""
    sys.path.insert(0, str(LIGER_FOLDER))
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    def loss(x: Inputs, alpha: float) -> Tensor:
        module = LigerFusedLinearJSDLoss(0.0, 1.0, beta=alpha, compiled=compiled, chunk_size=chunk_size)
        return module(x.student_TH, x.student_VH, x.teacher_TH, x.teacher_VH, x.tokens_T)

    return loss


@dataclass(frozen=True)
class Variant:
    """A way to compute the loss, and what it is called in the table."""

    title: str
    build: Callable[..., Loss]
    arguments: tuple[Any, ...] = ()

    @property
    def compiled(self) -> bool:
        return self.build is liger and self.arguments[0]


VARIANTS = {
    "ours": Variant("ours", ours),
    "trl_full": Variant("TRL full logits", trl_full),
    "trl_chunked": Variant("TRL chunked", trl_chunked),
    "liger": Variant("Liger", liger, (False,)),
    "liger_compiled": Variant("Liger, compiled", liger, (True,)),
    "liger_128": Variant("Liger, chunks of 128", liger, (False, 128)),
}


# ---- a process that measures one variant


class Subject:
    """Answers questions about one variant; its public methods are the questions."""

    def __init__(self, variant: Variant, device: str):
        sys.path.insert(0, str(ROOT))
        self.variant = variant
        self.loss = variant.build(*variant.arguments)
        self.device = device
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.case: Case | None = None
        self.inputs: Inputs | None = None

    def errors(self, alpha: float) -> dict[str, float]:
        """Relative difference of loss and gradients from the dense formula in float64, at a small size in float32."""
        exact = Inputs.random(CHECKED, self.device, torch.float64)
        expected = _step(_dense, exact, alpha)
        inputs = Inputs.random(CHECKED, self.device, torch.float32)
        found = _step(self.loss, inputs, alpha)
        pairs = zip(inputs.student, exact.student, strict=True)
        gradients = [float((x.grad - e.grad).abs().max() / e.grad.abs().max()) for x, e in pairs]
        return {"loss": float((found - expected).abs() / expected), "gradient": max(gradients)}

    def prepare(self, case: Case) -> dict[str, float]:
        """Make a case's inputs and call once; returns the loss and the norms of both gradients, to compare."""
        self._load(case)
        loss = self._call(case)
        hidden, weight = [float(x.grad.norm(dtype=torch.float64)) for x in self.inputs.student]
        return {"loss": float(loss), "hidden_gradient": hidden, "weight_gradient": weight}

    def seconds(self, case: Case, calls: int) -> float:
        """Mean seconds of calls; `prepare` comes before."""
        self._synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            self._call(case)
        self._synchronize()
        return (time.perf_counter() - start) / calls

    def memory(self, case: Case) -> int:
        """Bytes that a call needs at its peak beyond what was there before."""
        self._load(TINY)
        self._call(TINY)
        self._load(case)
        if self.variant.compiled:
            self._call(case)
        self._forget_gradients()
        return _peak_on_cuda(self._call, case) if self.device == "cuda" else _peak_on_cpu(self._call, case)

    def drop(self) -> None:
        """Give the memory of the inputs back."""
        self.case = self.inputs = None

    def _load(self, case: Case) -> None:
        if self.case != case:
            self.drop()
            self.case, self.inputs = case, Inputs.random(case, self.device, self.dtype)
            if self.variant.compiled:
                torch._dynamo.reset()  # each size is compiled for itself

    def _call(self, case: Case) -> Tensor:
        self._forget_gradients()
        return _step(self.loss, self.inputs, case.alpha)

    def _forget_gradients(self) -> None:
        for x in self.inputs.student:
            x.grad = None

    def _synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def _step(loss: Loss, inputs: Inputs, alpha: float) -> Tensor:
    """Loss and backward; the gradients end in `.grad`."""
    with torch.autocast("cuda", torch.bfloat16, enabled=inputs.student_TH.dtype == torch.bfloat16):
        value = loss(inputs, alpha)
    value.backward()
    return value.detach()


def _dense(x: Inputs, alpha: float) -> Tensor:
    """The mean divergence of all tokens by its formula."""
    log_s_TV = F.log_softmax(x.student_TH @ x.student_VH.t(), -1)
    log_t_TV = F.log_softmax(x.teacher_TH @ x.teacher_VH.t(), -1)
    if alpha in (0, 1):
        first, second = (log_t_TV, log_s_TV) if alpha == 0 else (log_s_TV, log_t_TV)
        return (first.exp() * (first - second)).sum(-1).mean()
    log_m_TV = torch.log((1 - alpha) * log_s_TV.exp() + alpha * log_t_TV.exp())
    teacher_T = (log_t_TV.exp() * (log_t_TV - log_m_TV)).sum(-1)
    student_T = (log_s_TV.exp() * (log_s_TV - log_m_TV)).sum(-1)
    return (alpha * teacher_T + (1 - alpha) * student_T).mean()


def _peak_on_cuda(call: Callable[[Case], Any], case: Case) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call(case)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _peak_on_cpu(call: Callable[[Case], Any], case: Case) -> int:
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    call(case)
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """Bytes, from /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


def serve(pipe: Any, name: str, device: str) -> None:
    """Answer questions about a variant until the pipe closes; an error is an answer too."""
    subject = None
    while question := pipe.recv():
        try:
            subject = subject or Subject(VARIANTS[name], device)
            pipe.send((True, getattr(subject, question[0])(*question[1:])))
        except Exception:
            pipe.send((False, traceback.format_exc().strip()))


class Worker:
    """The process of one variant."""

    def __init__(self, name: str, device: str):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, device), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any) -> Any:
        """The answer; RuntimeError where the variant failed, or its process died."""
        self.pipe.send((question, *arguments))
        try:
            worked, answer = self.pipe.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            raise RuntimeError(f"{self.name}: the process ended with exit code {code}; out of memory?") from None
        if not worked:
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def close(self) -> None:
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join()


@contextmanager
def workers(names: Iterable[str], device: str) -> Iterator[dict[str, Worker]]:
    """A process for each variant, for a while."""
    started = {name: Worker(name, device) for name in names}
    try:
        yield started
    finally:
        for worker in started.values():
            worker.close()


# ---- the run


@dataclass
class Run:
    """What was measured of one variant at one size; the i-th entries of all variants were measured side by side."""

    case: Case
    variant: str
    checks: dict[str, float]
    seconds: list[float]
    extra_bytes: list[int]


def main() -> None:
    """Check that all variants agree, measure them, print the table, write the record."""
    arguments = parse_arguments()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    names, skipped = usable(device)
    runs = []
    with workers(names, device) as alive:
        check_formula(alive, (0.0,) if arguments.quick else (0.0, 0.5, 1.0))
        for case in [CHECKED] if arguments.pretend else cases(device, arguments.quick):
            runs += measure(case, alive, device, arguments.quick)
    print(markdown(runs))
    if arguments.json:
        write(arguments.json, record(runs, skipped, device, CHECKED if arguments.pretend else headline(device)))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the largest size of the CPU alone, fewer repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write machine, versions, runs and ratios here")
    parser.add_argument("--pretend", action="store_true", help="a small size alone: does it all run?")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where torch finds one, else cpu")
    return parser.parse_args()


def headline(device: str) -> Case:
    """The size that the project's targets are set for."""
    return Case(151_936, 1_024, 1_024 if device == "cuda" else 512)


def cases(device: str, quick: bool) -> list[Case]:
    """All sizes with the forward KL, and the headline's with the other divergences."""
    top = headline(device)
    if quick:
        return [top]
    lengths = (256, 1_024, 4_096) if device == "cuda" else (256, 1_024)
    grid = [Case(vocabulary, tokens, top.hidden) for vocabulary in (32_000, 151_936) for tokens in lengths]
    return [*grid, replace(top, alpha=0.5), replace(top, alpha=1.0)]


def usable(device: str) -> tuple[list[str], dict[str, str]]:
    """The variants that work here, and for each of Liger's that does not the reason, which is printed."""
    missing = install_liger()
    names, skipped = [], {}
    for name, variant in VARIANTS.items():
        reason = None
        if variant.build is liger:
            reason = missing or why_not(name, device)
        if reason:
            skipped[name] = reason
            say(f"skipped {variant.title}: {reason}")
        else:
            names.append(name)
    return names, skipped


def install_liger() -> str | None:
    """Install Liger where only this benchmark finds it; without its requirements, as torch's part needs no triton.

    Returns the reason where that fails.
    """
    if LIGER_FOLDER.is_dir():
        return None
    partial = LIGER_FOLDER.with_name(LIGER_FOLDER.name + ".partial")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(partial)]
    done = subprocess.run([*pip, f"liger-kernel=={LIGER}"], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip() or "pip failed").splitlines()[-1]
    partial.rename(LIGER_FOLDER)
    return None


def why_not(name: str, device: str) -> str | None:
    """The last line of the error that a variant ends with at a tiny size, None where it works."""
    with workers([name], device) as alive:
        try:
            alive[name].ask("prepare", TINY)
        except RuntimeError as error:
            return str(error).splitlines()[-1]
    return None


def check_formula(alive: dict[str, Worker], alphas: Iterable[float]) -> None:
    """Compare loss and gradients with the dense formula in float64; exits 1 where a variant is off."""
    for alpha in alphas:
        for name in compared(alive, alpha):
            errors = alive[name].ask("errors", alpha)
            title = VARIANTS[name].title
            say(f"alpha {alpha:g}  {title}: off by {errors['loss']:.1e} (loss), {errors['gradient']:.1e} (gradients)")
            if not (errors["loss"] <= LOSS_TOLERANCE and errors["gradient"] <= GRADIENT_TOLERANCE):
                sys.exit(f"{title} differs from the dense formula in float64 at alpha {alpha:g}: {errors}")


def compared(names: Iterable[str], alpha: float) -> list[str]:
    """All variants for the forward KL, TRL's chunked one and ours for the rest."""
    return [name for name in names if alpha == 0 or name in ("ours", "trl_chunked")]


def measure(case: Case, alive: dict[str, Worker], device: str, quick: bool) -> list[Run]:
    """One case: do all agree on it, then times in alternation, then memory."""
    names = compared(alive, case.alpha)
    runs = {name: Run(case, name, alive[name].ask("prepare", case), [], []) for name in names}
    check_agreement(runs, device)
    for turn in range(3 if quick else 5):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            runs[name].seconds.append(alive[name].ask("seconds", case, 10 if device == "cuda" else 1))
    for name in names:
        alive[name].ask("drop")
    for _ in range(1 if quick else 3):
        for name in names:
            runs[name].extra_bytes.append(memory(name, case, alive, device))
    for name, run in runs.items():
        mib = statistics.median(run.extra_bytes) / 2**20
        say(f"{case.name}  {VARIANTS[name].title}: {mib:,.0f} MiB, {statistics.median(run.seconds):.3g} s")
    return list(runs.values())


def memory(name: str, case: Case, alive: dict[str, Worker], device: str) -> int:
    """Peak extra bytes of a call; on the CPU from a fresh process."""
    if device == "cuda":
        return alive[name].ask("memory", case)
    with workers([name], device) as fresh:
        return fresh[name].ask("memory", case)


def check_agreement(runs: dict[str, Run], device: str) -> None:
    """Do the variants' losses and gradient norms agree at a measured size? In float32 a difference exits 1.

    In bfloat16 some peers round logits or sums, which says nothing about the others; the record has the values.
    """
    expected = runs["ours"].checks
    for name, run in runs.items():
        off = max(abs(run.checks[key] / expected[key] - 1) for key in expected)
        if device == "cpu" and not off <= LOSS_TOLERANCE:
            sys.exit(
                f"{VARIANTS[name].title} and ours differ by {off:.1e} at {run.case.name}: {run.checks}, {expected}"
            )


def ratios(runs: list[Run], top: Case) -> dict[str, dict[str, float]]:
    """Memory is theirs ÷ ours, time is ours ÷ theirs; names without a size are the headline's."""
    found = {}
    for case in dict.fromkeys(run.case for run in runs):
        at = {run.variant: run for run in runs if run.case == case}
        mine = at.pop("ours")
        fastest = [min(times) for times in zip(*(run.seconds for run in at.values()), strict=True)]
        for name, run in at.items():
            found[f"memory_vs_{name}_{case.name}"] = ratio(run.extra_bytes, mine.extra_bytes)
            found[f"time_vs_{name}_{case.name}"] = ratio(mine.seconds, run.seconds)
        found[f"time_vs_fastest_{case.name}"] = ratio(mine.seconds, fastest)
    named = ("memory_vs_trl_full", "memory_vs_trl_chunked", "time_vs_fastest")
    return {name: found[f"{name}_{top.name}"] for name in named} | found


def markdown(runs: list[Run]) -> str:
    """The table: peak extra memory, and seconds of a call, each also over ours."""
    ours_at = {run.case: run for run in runs if run.variant == "ours"}
    rows = []
    for run in runs:
        mine, case = ours_at[run.case], run.case
        memory_ratio = ratio(run.extra_bytes, mine.extra_bytes)["median"]
        time_ratio = ratio(run.seconds, mine.seconds)["median"]
        size = [f"{case.vocabulary:,}", f"{case.tokens:,}", f"{case.alpha:g}", VARIANTS[run.variant].title]
        mib = f"{statistics.median(run.extra_bytes) / 2**20:,.0f}"
        rows.append([*size, mib, f"{memory_ratio:.2f}", spread(run.seconds, 3), f"{time_ratio:.2f}"])
    return table(["V", "T", "alpha", "variant", "extra MiB", "÷ ours", "seconds (min–max)", "÷ ours"], rows)


def record(runs: list[Run], skipped: dict[str, str], device: str, top: Case) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "machine": machine() | {"device": device},
        "versions": versions("torch", "trl", "transformers", "triton") | {"liger-kernel": LIGER},
        "runs": [asdict(run) for run in runs],
        "skipped": skipped,
        "ratios": ratios(runs, top),
    }


def say(text: str) -> None:
    """Progress goes to stderr, the table to stdout."""
    print(f"loss_memory: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
