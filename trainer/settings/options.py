"""The settings of every subcommand: typed, frozen, documented in one place.

A field made by `option` is a flag `--name`, a key of the `--config` file and an environment variable
`SDFT_NAME`; `trainer.settings.resolve` finds its value. Nothing here imports torch, so `--help` is instant.
"""

from dataclasses import dataclass, field
from typing import Any

# Objectives with rollouts, and those whose teacher is shown something.
DISTILLING = ("sdft", "served")
SHOWING = ("sdft", "served", "seqkd")
SERVED = ("served",)

TEACHER_PROMPT_TEMPLATE = (
    "{prompt}\n\n"
    "This is an example for a response to the question:\n{demonstration}\n\n"
    "Now answer with a response of your own, including the thinking process."
)


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    secret: bool = False,
    decides: bool = True,
    is_url: bool = False,
    positional: str | None = None,
    objectives: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with the metadata of a setting.

    Args:
        default: Value when nothing else gives one; None stands for "not set".
        help: One line, with unit and sentinel.
        choices: Allowed values.
        at_least: Smallest allowed number.
        at_most: Largest allowed number.
        secret: Never printed, never written to a run directory.
        decides: Whether the setting decides the outcome of a run, so that a resumed run must not change it.
        is_url: The value is the base URL of a server, or of several with commas between them.
        positional: What the usage line calls it where it may come first, without its flag.
        objectives: The values of --objective with which it has an effect; None: with each.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "at_least": at_least,
        "at_most": at_most,
        "secret": secret,
        "decides": decides,
        "is_url": is_url,
        "positional": positional,
        "objectives": objectives,
    }
    return field(default=default, metadata=metadata, repr=not secret)


# What several subcommands ask for in the same words; each has it where its own order wants it.
TEACHER_URL = "base URL of the served teacher"
TEACHER_NAME = "name under which the teacher is served"
SERVER_KEY = "bearer key of a server; better given as"
TEACHER_KEY = "bearer key of the teacher; better given as"
PATIENCE = option(
    120.0,
    "seconds to retry a teacher that refuses connections, times out or answers 429/5xx",
    decides=False,
    at_least=0,
)
SKIP_BAD_ROWS = option(False, "drop rows that can't be used, and say how many and why")
COLUMNS = option(
    None,
    "which column is which, for files that have these columns: prompt=question,golden_response=answer; a text with "
    "{column} in it joins several (unset: told by the columns' names)",
)
TURNS = option(
    "each",
    "of a conversation with several answers of the assistant: each becomes a row, or the last alone",
    choices=("each", "last"),
)
TOOLS = option(None, "file of tools for rows that name none, as OpenAI, MCP or Anthropic write them (unset: none)")
MAX_EVAL_SAMPLES = option(
    None, "score at most this many rows of each file, drawn at random, always the same (unset: all)", at_least=1
)
SCORER = option(
    None,
    "module:function that says of a row and an answer whether it is right (unset: the row's check or golden answer)",
)
PROMPT_TEMPLATE = option(
    TEACHER_PROMPT_TEMPLATE,
    "how a prompt is shown with its demonstration; needs {prompt} and {demonstration}",
    objectives=SHOWING,
)
HOW_SHOWN = (
    "how a row's context, or else its demonstration, is shown: template: together with the prompt, as in "
    "--teacher_prompt_template; turns: as the answer in an earlier exchange of the same conversation; system: as the "
    "system message, before one that the prompt has"
)
WAYS = ("template", "turns", "system")
SHOW_CONTEXT = option("template", HOW_SHOWN, choices=WAYS)
ASK_AGAIN = option(
    None, "with turns: what the user says behind the demonstration (unset: the question once more)", objectives=SHOWING
)
DEMONSTRATIONS_SHOWN = option(1, "demonstrations that the teacher of a row is shown", at_least=1, objectives=SHOWING)
DEMONSTRATIONS_OF = option(
    "own",
    "whose they are: own: the row's own, behind those of other rows of its kind; others: of other rows alone",
    choices=("own", "others"),
    objectives=SHOWING,
)
CONTEXT = option(
    None,
    "text file that is the privileged context of every row that has none (unset: rows' own contexts alone)",
    objectives=SHOWING,
)
EVAL_BATCH_SIZE = option(32, "answers decoded together", at_least=1)
TOOLUSE_EVAL_DATA = "data/tooluse_data/eval_data.json"
GENERAL_PROMPTS = "data/general_prompts/general_prompts.json"
REPLAY_SHARE = 0.1
DTYPES = ("bfloat16", "float32")
THINKING = (  # what `train` and `check` say of it
    "--enable_thinking with --objective sdft: learning from oneself, shown more, was reported to cost models that "
    "think aloud up to 17 % of what they could (arXiv 2607.05184). Leave it out, or see by --prior_data_path and "
    "--eval_steps what it costs here"
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """How to talk to a served model."""

    vllm_server_model: str = option("glm-4.7", f"{TEACHER_NAME}; for `eval` the model of --served")
    vllm_server_api_key: str | None = option(
        None, f"{TEACHER_KEY} SDFT_VLLM_SERVER_API_KEY", secret=True, decides=False
    )
    vllm_server_max_concurrency: int = option(16, "requests in flight at the teacher", decides=False, at_least=1)
    teacher_patience: float = PATIENCE


@dataclass(frozen=True, kw_only=True)
class ServedTeacher(Server):
    """Where the served teacher is and how to talk to it."""

    vllm_server_base_url: str | None = option(
        None, f"{TEACHER_URL}; also the first positional argument", decides=False, is_url=True, positional="URL"
    )


@dataclass(frozen=True, kw_only=True)
class Texts:
    """How long texts may be, and whether models think aloud."""

    max_prompt_length: int = option(
        1024,
        "tokens of a prompt; longer ones lose their beginning, and the number of them is reported",
        at_least=1,
    )
    max_completion_length: int = option(1024, "tokens of a rollout, a target or an evaluated answer", at_least=1)
    enable_thinking: bool = option(False, "let chat templates open a thinking block")


@dataclass(frozen=True, kw_only=True)
class Student(Texts):
    """Which model learns."""

    model_name_or_path: str = option("Qwen/Qwen3-0.6B", "student model: a hub name or a folder")
    local_files_only: bool = option(False, "never ask the model hub", decides=False)
    chat_template: str | None = option(
        None, "a named chat template of the tokenizer, or a Jinja file (unset: the tokenizer's default)"
    )
    load_in_4bit: bool = option(
        False, "hold the model's linear layers in 4 bits (bitsandbytes); training then needs --use_peft"
    )


@dataclass(frozen=True, kw_only=True)
class Train(ServedTeacher, Student):
    """Settings of `train`. Any other TrainingArguments flag is passed on to TRL."""

    train_data_path: str | None = option(
        None,
        "training rows, of any common format: a file, files with commas between or a pattern, a folder, or ORG/NAME of "
        "the hub "
        "(unset: data/tooluse_data/train_data.json, else sample_train.json there)",
    )
    eval_data_path: str | None = option(
        None,
        "rows of the new skill, scored before and after "
        "(unset: data/tooluse_data/eval_data.json with the default training rows, else not measured)",
    )
    prior_data_path: str | None = option(None, "rows of prior skills, scored before and after (unset: not measured)")
    max_eval_samples: int | None = MAX_EVAL_SAMPLES
    scorer: str | None = SCORER
    skip_bad_rows: bool = SKIP_BAD_ROWS
    columns: str | None = COLUMNS
    turns: str = TURNS
    tools: str | None = TOOLS
    eval_steps: int | None = option(
        None, "also score, and save, each this many optimizer steps (unset: before and after training)", at_least=1
    )
    max_forgetting: float = option(
        0.05,
        "with --eval_steps: accuracy, as a fraction of 1, that the prior skills may lose at the best checkpoint",
        at_least=0,
        at_most=1,
    )
    accept_changed_data: bool = option(
        False, "go on with a run though its data or its model's files have changed since it began", decides=False
    )
    output_dir: str = option("outputs/sdft", "run directory; an unfinished run there is resumed", decides=False)

    objective: str = option(
        "sdft",
        "sdft: the student's own copy, shown the demonstration, scores its rollouts; "
        "served: the served teacher scores them; "
        "seqkd: learn the text the served teacher writes; sft: learn the golden text; "
        "auto: whichever of the first three has a signal on the evaluation rows",
        choices=("sdft", "served", "seqkd", "sft", "auto"),
    )
    demonstrations: str = option(
        "auto",
        "golden: each row's golden response; teacher: written by the served teacher; "
        "auto: for sdft teacher when a teacher URL is given, else golden",
        choices=("auto", "golden", "teacher"),
    )
    rollouts: str = option(
        "student",
        "who samples the completions: the student on its own; teacher: the student shown the demonstration (offline "
        "variant); mixed: both, see --teacher_rollouts",
        choices=("student", "teacher", "mixed"),
    )
    teacher_rollouts: str = option(
        "1:0",
        "with --rollouts mixed: share of a step's prompts that the shown student answers; 1:0 falls over the run",
        objectives=("sdft",),
    )
    alpha: float = option(
        0.0,
        "divergence: 0 forward KL(teacher|student), 1 reverse KL, between: Jensen-Shannon",
        at_least=0,
        at_most=1,
        objectives=DISTILLING,
    )
    teacher_kind: str = option(
        "ema",
        "weights that score the rollouts: float32 moving average, initial, or current",
        choices=("ema", "base", "live"),
        objectives=("sdft",),
    )
    teacher_model_name_or_path: str | None = option(
        None,
        "with --teacher_kind base: another model that teaches, with the student's tokenizer (unset: the student)",
        objectives=("sdft",),
    )
    teacher_update_rate: float = option(
        0.01,
        "share of the student that enters the EMA teacher at an optimizer step",
        at_least=0,
        at_most=1,
        objectives=("sdft",),
    )
    num_loss_tokens_to_skip: int = option(3, "first completion tokens without loss", at_least=0, objectives=DISTILLING)
    temperature: float = option(
        1.0,
        "sampling temperature of rollouts, for sdft also of both distributions in the loss (served: 1 there)",
        at_least=0.01,
        objectives=DISTILLING,
    )
    loss_normalization: str = option(
        "sequence",
        "sequence: mean over rollouts of their mean over tokens, as published; token: mean over all tokens of the step",
        choices=("sequence", "token"),
        objectives=DISTILLING,
    )
    rollout_engine: str = option(
        "auto",
        "generate: transformers' generate; continuous: its continuous batching; vllm: TRL's vLLM integration; "
        "sharded: with --fsdp, generate without a whole copy of the model; auto picks by device and says why; where it "
        "can't know, the first step measures generate and continuous. A run goes on with what it chose, and has the "
        "bits of one that names that engine; to have the same bits again, name it",
        choices=("auto", "generate", "continuous", "vllm", "sharded"),
        decides=False,
        objectives=DISTILLING,
    )
    max_tokens_per_microbatch: int | None = option(
        None,
        "tokens of a micro-batch, padding included; it changes speed and memory, not the loss "
        "(unset: from the device's memory; --per_device_train_batch_size N asks for N rollouts instead)",
        decides=False,
        at_least=1,
        objectives=DISTILLING,
    )
    teacher_prompt_template: str = PROMPT_TEMPLATE
    show_context: str = option(
        "template",
        f"{HOW_SHOWN}; auto: whichever lifts the student most on the evaluation rows",
        choices=(*WAYS, "auto"),
        objectives=SHOWING,
    )
    ask_again: str | None = ASK_AGAIN
    demonstrations_shown: int = DEMONSTRATIONS_SHOWN
    demonstrations_of: str = DEMONSTRATIONS_OF
    context: str | None = CONTEXT

    replay_data_path: str | None = option(
        None,
        "prompts on which the student is held to what it was before the run; of a finished run's directory its own "
        "(unset: none, or with --replay_share the general prompts that are shipped)",
    )
    replay_share: float | None = option(
        None,
        "share of a step's prompts that are replayed (unset: 0.1 where a path is given)",
        at_least=0,
        at_most=0.9,
    )

    teacher_top_k: int = option(
        20,
        "served: likeliest tokens that the teacher tells of each position (vLLM: --max-logprobs)",
        at_least=1,
        objectives=SERVED,
    )
    tokenizer_route: str = option(
        "auto",
        "served: auto sends the student's token ids to a teacher of the same tokenizer and else compares over bytes; "
        "byte compares over bytes in any case",
        choices=("auto", "byte"),
        objectives=SERVED,
    )
    teacher_tokenizer: str | None = option(
        None,
        "byte route: the teacher's tokenizer, a hub name or a folder (unset: what the server tells of it)",
        objectives=SERVED,
    )
    byte_route: str = option(
        "sampled",
        "sampled: policy gradient from the teacher's likelihood of each chunk of the text; dense: the divergence from "
        "the teacher's top-K instead wherever it tells the student's next token",
        choices=("sampled", "dense"),
        objectives=SERVED,
    )
    byte_credit: str = option(
        "dpca",
        "byte route: share of a chunk's advantage that a token gets: in proportion to its log-probability, or equal",
        choices=("dpca", "uniform"),
        objectives=SERVED,
    )
    advantage_clip: float = option(
        5.0, "byte route: largest advantage of a token, in nats", at_least=0, objectives=SERVED
    )
    byte_anchor: float = option(
        1.0,
        "byte route: weight of the forward KL from the initial student at tokens that the teacher tells nothing of; "
        "it holds the student there; 0: nothing does",
        at_least=0,
        objectives=SERVED,
    )
    teacher_cache: str = option(
        "auto",
        "folder that keeps the teacher's scores for resumed and repeated runs, at most 1 GiB; off: none "
        "(auto: teacher_cache beside the run directory)",
        decides=False,
        objectives=SERVED,
    )
    no_overlap: bool = option(
        False, "wait for the teacher between stages; slower, and a repeated run has the same bits", decides=False
    )

    num_prompts_per_batch: int = option(32, "prompts of one optimizer step, over all devices", at_least=1)
    learning_rate: float = option(2e-5, "peak learning rate (cosine, 10 % warm-up)", at_least=0)
    num_train_epochs: float = option(1.0, "passes over the training rows", at_least=0)
    seed: int = option(42, "seed of everything that is random", at_least=0, at_most=2**32 - 1)
    save_steps: int = option(50, "optimizer steps between checkpoints", decides=False, at_least=1)
    save_total_limit: int = option(
        2, "checkpoints kept in the run directory, the newest and the best in any case", decides=False, at_least=1
    )

    report_to: str = option(
        "none",
        "where the curves go besides metrics.jsonl: tensorboard, wandb, trackio, …; commas between several",
        decides=False,
    )

    use_peft: bool = option(False, "train LoRA adapters instead of all weights")
    lora_r: int = option(16, "LoRA rank", at_least=1)
    lora_alpha: int = option(32, "LoRA scale numerator", at_least=1)
    lora_dropout: float = option(0.0, "LoRA dropout", at_least=0, at_most=0.9)
    lora_target_modules: str = option("all-linear", "modules that get adapters, comma-separated")

    dry_run: bool = option(False, "load everything, print each setting with its origin, and exit", decides=False)


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Settings of `generate`."""

    base_url: str = option(
        "http://localhost:8000", f"{TEACHER_URL}; also the first positional argument", is_url=True, positional="URL"
    )
    api_key: str | None = option(None, f"{TEACHER_KEY} SDFT_API_KEY", secret=True)
    model: str = option("glm-4.7", TEACHER_NAME)
    train_samples: int = option(200, "rows of train_data.json", at_least=1)
    eval_samples: int = option(20, "rows of eval_data.json", at_least=0)
    out_dir: str = option("data/generated", "folder for the data files, the journal, the report and the data card")
    seed: int = option(42, "seed of the prompts and of the teacher's sampling")
    recipe: str | None = option(
        None,
        "tooluse, qa, from_prompts or a YAML file: how prompts are made, and which answers are good (unset: "
        "from_prompts where --prompts is given, else qa)",
    )
    prompts: str | None = option(
        None, "rows whose prompts are answered, in the data format (unset: the teacher writes the prompts too)"
    )
    skip_bad_rows: bool = option(False, "drop rows of --prompts that can't be used, and say how many and why")
    columns: str | None = COLUMNS
    turns: str = TURNS
    reject_near_duplicates: bool = option(
        False,
        "also reject prompts of --prompts that ask nearly the same as one before them; of prompts that the teacher "
        "writes they always are",
    )
    tools: str | None = option(
        None, "tool catalogue or OpenAPI document, for a recipe with tools (unset: the recipe's)"
    )
    judge: int | None = option(
        None,
        "the teacher grades each answer from 1 to 10, and those below this grade are rejected",
        at_least=1,
        at_most=10,
    )
    best_of: int = option(
        1, "answers for each prompt, of which the one with the best grade is kept", at_least=1, at_most=1000
    )
    format: str = option("json", "of the data files", choices=("json", "jsonl", "parquet"))
    vllm_server_max_concurrency: int | None = option(
        None,
        "requests in flight at the teacher at most (unset: as many as make it faster, found by trying)",
        at_least=1,
    )
    max_tokens: int | None = option(None, "tokens of one answer (unset: the recipe's)", at_least=1)
    temperature: float | None = option(None, "sampling temperature; 0 is greedy (unset: the recipe's)", at_least=0)
    enable_thinking: bool = option(False, "let the teacher's chat template open a thinking block")
    teacher_patience: float = PATIENCE


@dataclass(frozen=True, kw_only=True)
class Eval(Server, Student):
    """Settings of `eval`."""

    served: str | None = option(None, "base URL of a served model to score instead of a local one", is_url=True)
    eval_data_path: str = option(TOOLUSE_EVAL_DATA, "rows of the new skill")
    prior_data_path: str | None = option(None, "rows of prior skills (unset: not measured)")
    train_data_path: str | None = option(
        None, "training rows, to tell tools that training has seen from others (unset: not told)"
    )
    max_eval_samples: int | None = MAX_EVAL_SAMPLES
    scorer: str | None = SCORER
    judge: str | None = option(
        None,
        "base URL of a served model that compares answers with golden responses where nothing else says what is right "
        "(unset: none)",
        is_url=True,
    )
    judge_model: str | None = option(None, "name under which --judge serves its model (unset: --vllm_server_model)")
    judge_api_key: str | None = option(None, "bearer key of the judge; better given as SDFT_JUDGE_API_KEY", secret=True)
    skip_bad_rows: bool = SKIP_BAD_ROWS
    columns: str | None = COLUMNS
    turns: str = TURNS
    tools: str | None = TOOLS
    with_demonstration: bool = option(False, "show each row's golden response in the prompt, as the teacher sees it")
    teacher_prompt_template: str = PROMPT_TEMPLATE
    show_context: str = SHOW_CONTEXT
    ask_again: str | None = ASK_AGAIN
    demonstrations_shown: int = DEMONSTRATIONS_SHOWN
    demonstrations_of: str = DEMONSTRATIONS_OF
    context: str | None = CONTEXT
    per_device_eval_batch_size: int = EVAL_BATCH_SIZE
    dtype: str = option(
        "float32",
        "of the weights: bfloat16 is what servers compute in, and faster where a device has instructions for it",
        choices=("float32", "bfloat16"),
    )
    baseline: str | None = option(
        None,
        "JSON file of an earlier eval, or a run's scores_before.json: tells what became of the same rows since",
    )
    suite: str | None = option(
        None, "also score the tasks of lm-evaluation-harness (unset: none)", choices=("lm-eval",)
    )
    suite_tasks: str = option(
        "hellaswag,mmlu,truthfulqa_mc2,winogrande,humaneval,ifeval",
        "tasks of --suite, comma-separated: the harness's names, or YAML files",
    )
    suite_limit: int | None = option(None, "score at most this many rows of each task (unset: all)", at_least=1)
    allow_code: bool = option(False, "let --suite run code that the model writes, as humaneval does")
    output_file: str | None = option(None, "JSON file for the scores and every answer (unset: not written)")


@dataclass(frozen=True, kw_only=True)
class Check(ServedTeacher, Student):
    """Settings of `check`."""

    headroom: int | None = option(
        None,
        "also measure, on this many evaluation rows, whether there is anything to learn, and who can teach it "
        "(unset: only look at the teacher)",
        at_least=1,
    )
    eval_data_path: str = option(TOOLUSE_EVAL_DATA, "with --headroom: rows of the new skill")
    scorer: str | None = SCORER
    skip_bad_rows: bool = SKIP_BAD_ROWS
    columns: str | None = COLUMNS
    turns: str = TURNS
    tools: str | None = TOOLS
    teacher_prompt_template: str = PROMPT_TEMPLATE
    show_context: str = option("auto", f"{HOW_SHOWN}; auto: each, and the best is told", choices=(*WAYS, "auto"))
    ask_again: str | None = ASK_AGAIN
    demonstrations_shown: int = DEMONSTRATIONS_SHOWN
    demonstrations_of: str = DEMONSTRATIONS_OF
    context: str | None = CONTEXT
    per_device_eval_batch_size: int = EVAL_BATCH_SIZE
    output_file: str | None = option(None, "with --headroom: JSON file for all that was found (unset: not written)")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Settings of `report`."""

    runs: tuple[str, ...] = option(
        (), "run directories, shown side by side; also the first positional arguments", positional="RUN …"
    )
    output_file: str | None = option(None, "HTML file to write (unset: report.html in the first run directory)")
    plots: str | None = option(None, "folder for plots as PNG and PDF files, for papers (unset: none)")
    max_samples: int = option(24, "sample rollouts of a run in the token heat map, at most", at_least=0)
    max_changes: int = option(10, "best and worst changed answers, of each kind at most", at_least=0)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Settings of `export`."""

    run: str | None = option(None, "run directory; also the first positional argument", positional="RUN")
    checkpoint: str | None = option(
        None, "best, last, or the step of one that is kept (unset: the best where the run names one, else the last)"
    )
    output_dir: str | None = option(None, "folder for the model; it must be new or empty")
    dtype: str = option(
        "bfloat16", "of the weights: bfloat16 is half as large and what servers compute in", choices=DTYPES
    )
    adapter: bool = option(False, "write the LoRA adapter alone instead of merging it into its base model")
    push_to_hub: str | None = option(
        None, "also upload the folder to this model repository, ORG/NAME; a new one is private (unset: nowhere)"
    )
    local_files_only: bool = option(False, "never ask the model hub for the base model of an adapter")
    dry_run: bool = option(False, "write and verify the model aside, list its files, and keep and upload nothing")


@dataclass(frozen=True, kw_only=True)
class Compare(Texts):
    """Settings of `compare`."""

    models: tuple[str, ...] = option(
        (),
        "the two models, each a run directory, a folder, a hub name or a server's URL; also the first positional "
        "arguments",
        positional="MODEL_A MODEL_B",
    )
    prompt: str | None = option(None, "ask this (unset: ask the rows of --eval_data_path)")
    eval_data_path: str | None = option(
        None, "rows to ask (unset: those that the first run directory among the models was scored on)"
    )
    max_eval_samples: int | None = option(
        None, "ask at most this many rows, drawn at random, always the same (unset: all)", at_least=1
    )
    max_shown: int = option(10, "answers that differ, shown at most", at_least=0)
    checkpoint: str | None = option(None, "of run directories: best, last or a step (unset: the best, else the last)")
    served_model: str | None = option(None, "name under which a URL serves its model (unset: the only one there)")
    vllm_server_api_key: str | None = option(None, f"{SERVER_KEY} SDFT_VLLM_SERVER_API_KEY", secret=True)
    vllm_server_max_concurrency: int = option(16, "requests in flight at a server", at_least=1)
    teacher_patience: float = PATIENCE
    local_files_only: bool = option(False, "never ask the model hub")
    scorer: str | None = SCORER
    skip_bad_rows: bool = SKIP_BAD_ROWS
    columns: str | None = COLUMNS
    turns: str = TURNS
    tools: str | None = TOOLS
    per_device_eval_batch_size: int = EVAL_BATCH_SIZE


SUBCOMMANDS: dict[str, type] = {
    "train": Train,
    "generate": Generate,
    "eval": Eval,
    "check": Check,
    "report": Report,
    "export": Export,
    "compare": Compare,
}
