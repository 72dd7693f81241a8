#!/usr/bin/env python3
"""Does SDFT teach real models, what does that cost, and did `check --headroom` foretell it?

    .venv/bin/python scripts/fetch_small_model Qwen2.5-Coder-0.5B-Instruct       (for each model, and for the teacher)
    .venv/bin/python scripts/bench/real_model.py [--quick] [--models NAME …] [--skills NAME …] [--arms NAME …]
                                                 [--rates RATE …] [--seeds N …] [--steps N] [--work DIR] …

Every model is taught every skill of data/house_rules by every arm, all by the real command line, one command after
another. First headroom: what the model can do when it is shown a row's own demonstration, that of others, or the rule,
in each way to show, on validation rows. Then each arm is trained, at each learning rate with the first seed, and at the
rate that validation rows choose with the others.

    sft             the golden text
    sdft_template   SDFT, the demonstration shown as published
    sdft_turns      shown as an earlier exchange of the chat
    sdft_replay25   the same, and a quarter of each step are general prompts, where the model is held to what it was
    sdft_replay12   an eighth of each step
    sdft_whole12    as sdft_replay12, with the first three tokens of each answer in the loss
    sdft_whole25    as sdft_replay25, with those
    sdft_lora25     as sdft_whole25, and LoRA adapters learn instead of all weights, at ten times the rate
    sft_lora        as sft, with adapters at ten times the rate
    sdft_mixed      as sdft_replay25, and ever fewer prompts of a step are answered by the shown model
    served          scores of a served teacher, which is shown the demonstration; by bytes where its tokenizer differs
    seqkd           the text that the served teacher writes

The learning rate of an arm is the lowest one with which the validation rows reach `--level`, else the one with which
they get furthest. Told are eval rows, as the run scored them, and the prior skills of data/prior_suite with answers of
a length of their own (`--prior_tokens`), before and after. Intervals are 95 %: Newcombe's, of several seeds a bootstrap
over rows and seeds. A run with `--eval_steps` also tells what the prior skills had lost when the new skill reached the
level, interpolated between its scores; those are of answers as short as the new skill's.

`--work` keeps what is done (`worlds/real_runs.py` says where), so the same command goes on where it was interrupted;
after a change to the trainer name another folder. After every command it has `results.json`, `results.md` and
`foretold.png`, which tell of all that lies there, also of what other commands measured. Checkpoints go when they are
scored. A model of 0.5 billion parameters needs 13 GB of memory, with replay 18, and 20 GB of disk while it trains, and
two cores take about a minute for a step. With a GPU the trainer uses it.
"""

import argparse
import functools
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench"), str(ROOT / "scripts" / "bench" / "worlds")]

import real_outcomes  # noqa: E402
import real_results  # noqa: E402
import real_runs  # noqa: E402
import serving  # noqa: E402
from real_runs import TEACHER, Arm, Flags, Place, Sizes, Url  # noqa: E402

MODELS = ROOT / ".models"
SKILLS = tuple(sorted(folder.parent.name for folder in real_runs.RULES.glob("*/train_data.json")))
STUDENTS, SERVED = ("SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct"), "Qwen2.5-Coder-1.5B-Instruct"

TURNS: Flags = {"objective": "sdft", "show_context": "turns"}
LORA: Flags = {"use_peft": True}
LORA_RATES = 10  # an adapter learns at ten times the rate of all weights
# The byte route's settings that taught in the tiny world; with the student's own tokenizer they do nothing.
BY_BYTES: Flags = {"byte_route": "dense", "advantage_clip": 1}
ARMS = {
    "sft": Arm({"objective": "sft"}, None),
    "sdft_template": Arm({"objective": "sdft", "show_context": "template"}, "template"),
    "sdft_turns": Arm(TURNS, "turns"),
    "sdft_replay25": Arm(TURNS | {"replay_share": 0.25}, "turns"),
    "sdft_replay12": Arm(TURNS | {"replay_share": 0.125}, "turns"),
    "sdft_whole12": Arm(TURNS | {"replay_share": 0.125, "num_loss_tokens_to_skip": 0}, "turns"),
    "sdft_whole25": Arm(TURNS | {"replay_share": 0.25, "num_loss_tokens_to_skip": 0}, "turns"),
    "sdft_lora25": Arm(TURNS | LORA | {"replay_share": 0.25, "num_loss_tokens_to_skip": 0}, "turns", LORA_RATES),
    "sft_lora": Arm(LORA | {"objective": "sft"}, None, LORA_RATES),
    "sdft_mixed": Arm(TURNS | {"replay_share": 0.25, "rollouts": "mixed"}, "turns"),
    "served": Arm({"objective": "served", "show_context": "turns"} | BY_BYTES, TEACHER),
    "seqkd": Arm({"objective": "seqkd", "show_context": "turns"}, TEACHER),
}
OTHERS: Flags = {"show_context": "turns", "demonstrations_shown": 3, "demonstrations_of": "others"}


# ---- what is measured


def measure(given: argparse.Namespace) -> str:
    """Everything, first what needs no served teacher; the results are written anew after each part, and returned."""
    sizes = Sizes(
        given.rows, given.prompt_tokens, given.answer_tokens, given.prior_tokens, given.prompts, given.steps,
        given.eval_steps, given.bf16,
    )  # fmt: skip
    places = [Place(given.work, model, skill) for model in given.models for skill in given.skills]
    tell = functools.partial(real_results.write, given.work, ARMS, given.level, given.pairs, given.json)
    with ExitStack() as stack:

        @functools.cache
        def url() -> str:
            return stack.enter_context(serving.vllm(given.url, given.teacher, "--max-model-len", "2048"))

        for place in places:
            for _ in before(place, sizes):
                tell()
        for served in (False, True):
            arms = {name: ARMS[name] for name in given.arms if ARMS[name].served == served}
            for place in places if arms else []:
                if served:
                    measure_teacher(place, sizes, url)
                for name, arm in arms.items():
                    for _ in learn(given, place, sizes, name, arm, url):
                        tell()
    return tell()


def before(place: Place, sizes: Sizes) -> Iterator[None]:
    """What the model can do before training; yields after each part."""
    ways = {
        "demonstration": {},
        "three_others": OTHERS,
        "context": {"context": place.rows("train").with_name("context.txt")},
    }
    for name, flags in ways.items():
        real_runs.measure_headroom(place, sizes, name, flags)
        yield
    real_runs.score(place, sizes, place.model, place.folder / "before.json")
    yield


def measure_teacher(place: Place, sizes: Sizes, url: Url) -> None:
    if not (place.folder / "headroom" / "served.json").exists():
        real_runs.measure_headroom(place, sizes, "served", {"show_context": "turns"}, url())


def learn(given: argparse.Namespace, place: Place, sizes: Sizes, name: str, arm: Arm, url: Url) -> Iterator[None]:
    """Train an arm at each rate with the first seed, at the best one with the others; yields after each training."""
    first, *others = given.seeds

    def train(rate: float, seed: int) -> None:
        run = place.run(name, rate, seed)
        real_runs.train(place, sizes, arm, run, rate, seed, url, keep=given.keep_checkpoints)

    rates = [float(f"{rate * arm.rates:g}") for rate in given.rates]
    for rate in rates:
        train(rate, first)
        yield
    tried = [real_outcomes.outcome(place.run(name, rate, first)) for rate in rates]
    for seed in others:
        train(real_outcomes.best_rate(given.level, tried), seed)
        yield


# ---- the command line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="SmolLM2, act, sft and sdft_replay12: 2 steps of 8 rows")
    parser.add_argument("--models", nargs="+", metavar="NAME", default=[*STUDENTS], help="in .models, or folders")
    parser.add_argument("--skills", nargs="+", choices=SKILLS, default=["act", "reasons"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS])
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-5, 2e-5, 4e-5], help="learning rates of each arm")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--steps", type=int, default=36, help="optimizer steps")
    parser.add_argument("--prompts", type=int, default=8, help="rows of a step")
    parser.add_argument("--rows", type=int, default=40, help="rows of each file that are scored")
    parser.add_argument("--prompt_tokens", type=int, default=256, help="a prompt's, with what it is shown")
    parser.add_argument("--answer_tokens", type=int, default=64, help="a rollout's, and an answer's of the new skill")
    parser.add_argument("--prior_tokens", type=int, default=256, help="an answer's to the prior skills")
    parser.add_argument("--eval_steps", type=int, help="score also each so many steps (unset: before and after)")
    parser.add_argument("--level", type=float, default=0.9, help="accuracy of the new skill at which arms are compared")
    parser.add_argument("--teacher", metavar="NAME", default=SERVED, help="what is served to served and seqkd")
    parser.add_argument("--url", help="a server of it as glm-4.7, instead of a vLLM of our own on the CPU")
    parser.add_argument("--bf16", action="store_true", help="train and score in bfloat16, on a CPU, too")
    parser.add_argument("--keep_checkpoints", action="store_true", help="10 GB a run with 0.5 billion parameters")
    parser.add_argument("--pairs", nargs="+", type=Path, metavar="FILE", default=[], help="JSON of other benchmarks, "
                        "whose pairs of lift and gain the plot shows too")  # fmt: skip
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "real_model", help="all that comes out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions, runs, pairs and ratios")
    given = parser.parse_args()
    return made_quick(given, parser) if given.quick else given


def made_quick(given: argparse.Namespace, parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The smallest of everything that was not asked for otherwise."""
    least = {"models": STUDENTS[:1], "skills": ["act"], "arms": ["sft", "sdft_replay12"], "rates": [1e-4], "steps": 2,
             "rows": 2, "answer_tokens": 16, "prior_tokens": 16, "work": given.work / "quick"}  # fmt: skip
    for name, value in least.items():
        if getattr(given, name) == parser.get_default(name):
            setattr(given, name, value)
    return given


def model_folder(name: str) -> Path:
    """Where a model lies; ends where it doesn't."""
    for folder in (Path(name), MODELS / name):
        if (folder / "config.json").is_file():
            return folder.resolve()
    sys.exit(
        f"real_model.py: found no model {name}, expected a folder or one in {MODELS}. Type "
        f".venv/bin/python scripts/fetch_small_model {Path(name).name}"
    )


def refuse_nonsense(given: argparse.Namespace) -> None:
    """End at once where hours of training would tell nothing, or something else than what was asked."""
    if not 0 < given.level <= 1:
        sys.exit(f"real_model.py: found --level {given.level:g}, expected a share of the rows, like 0.9.")
    for name in ("models", "skills", "arms", "rates", "seeds"):
        if len(set(values := getattr(given, name))) < len(values):
            sys.exit(f"real_model.py: found --{name} {' '.join(map(str, values))}, expected different ones.")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the teacher ends and a training saves
    given = parse()
    refuse_nonsense(given)
    given.models = [model_folder(name) for name in given.models]
    if any(ARMS[name].served for name in given.arms) and not given.url:
        given.teacher = model_folder(given.teacher)
    given.work.mkdir(parents=True, exist_ok=True)
    print(f"\n{measure(given)}\nall of it: {given.work}")


if __name__ == "__main__":
    main()
