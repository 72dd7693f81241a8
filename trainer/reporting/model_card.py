"""The model card of an exported checkpoint: what it learnt and forgot, how it was made, from the files of its run."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers.utils import cached_file

from ..evaluation.intervals import Interval, wilson
from ..run.chosen import Chosen
from ..settings.options import Export, Train
from . import cards
from .headline import Change, Level, change, level, title_text, titles_of
from .page import percent, points
from .runs import DATA_SETTINGS, Run

TEMPLATE = Path(__file__).parent / "model_card.md.jinja"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
PAPER = "[arXiv 2601.19897](https://arxiv.org/abs/2601.19897)"
OBJECTIVES = {
    "sdft": f"Self-Distillation Fine-Tuning ({PAPER}): it answered prompts by itself, and its own copy, shown a "
    "demonstration, said of each token how likely it found it",
    "served": "on-policy distillation: it answered prompts by itself, and another model said of each token how likely "
    "it found it",
    "seqkd": "fine-tuning on texts that another model wrote",
    "sft": "fine-tuning on given texts",
}
PATHS = ("model_name_or_path", "train_data_path", "eval_data_path", "prior_data_path", "tools", "context", "scorer")
LOST = 0.1  # of a group's accuracy, from which on the card names the group
FEWEST = 8  # rows of a group that is named


def model_card(run: Run, chosen: Chosen, settings: Export, verified: str) -> str:
    """The text of the card, with the metadata that the model hub reads.

    Args:
        chosen: The checkpoint of `run` that was exported.
        verified: What was compared when the model was written, in a sentence.
    """
    results, base = _results(run, chosen), str(run.config.get("model_name_or_path", ""))
    name = (settings.push_to_hub or Path(settings.output_dir or "").resolve().name).rpartition("/")[2]
    card = ModelCard.from_template(
        _metadata(run, settings, name, results),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        what=_what(run, chosen, settings),
        results=[[*map(_cell, _row(result))] for result in results],
        about_scores=_about_scores(run, chosen, results),
        usage=_usage(settings, name, base),
        serving=_serving(settings, name, base),
        limits=_limits(run, chosen, settings, results),
        made=_made(run),
        facts=_facts(run),
        about_paths=" Of paths it has the last part alone." if _has_folders(run) else "",
        settings=yaml.safe_dump(_deciding(run), sort_keys=False, allow_unicode=True).strip(),
        commands=_commands(run),
        verified=verified,
    )
    return str(card).rstrip() + "\n"


# ── what it scored


def _results(run: Run, chosen: Chosen) -> list[Change]:
    """What became of each set of rows at the exported checkpoint, as far as the run measured that."""
    if chosen.is_last and run.scores["after"]:
        return [change(run, title) for title in titles_of([run])]
    return [found for title in titles_of([run]) if (found := _midway(run, chosen.step, title)) is not None]


def _midway(run: Run, step: int, title: str) -> Change | None:
    """What `--eval_steps` measured at a step: an accuracy, without the answers that an interval of the change needs."""
    accuracy = next((r[f"eval/{title}"] for r in run.metrics if r["step"] == step and f"eval/{title}" in r), None)
    before = run.scores["before"].get(title)
    if accuracy is None:
        return None
    was = level(before)
    rows = was.rows if was else None
    after = Level(accuracy, rows, wilson(accuracy, rows) if rows else None)
    return Change(title_text(title), was, after, 0, None, "the difference has no known interval")


def _row(result: Change) -> list[str]:
    """A line of the table."""
    rows = next((some.rows for some in (result.after, result.before) if some and some.rows), None)
    difference = "" if result.difference is None else points(result.difference)
    if result.interval is not None:
        difference += f" ({points(result.interval.low)} to {points(result.interval.high)})"
    levels = map(_level, (result.before, result.after))
    return [result.title, "" if rows is None else f"{rows:,}", *levels, difference, result.verdict]


def _level(found: Level | None) -> str:
    if found is None:
        return "–"
    return percent(found.accuracy) + (f" ({_bounds(found.interval)})" if found.interval else "")


def _bounds(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def _about_scores(run: Run, chosen: Chosen, results: list[Change]) -> str:
    """What one has to know to read the table."""
    if not results:
        scored = " The scores in the run directory are of another checkpoint." if run.scores["after"] else ""
        return f"Not measured for this checkpoint.{scored}"
    texts = ["A right answer is what the row's golden answer or check says, decoded greedily."]
    if chosen.is_best:
        texts.append("This checkpoint was chosen by these very rows, which flatters it.")
    return " ".join(texts)


# ── what it is


def _metadata(run: Run, settings: Export, name: str, results: list[Change]) -> ModelCardData:
    """What the model hub reads; what is not known is left out."""
    base = str(run.config.get("model_name_or_path", ""))
    data = str(run.config.get("train_data_path", "")).partition(":")[0]
    return ModelCardData(
        base_model=base if _is_on_hub(base) else None,
        datasets=[data] if _is_on_hub(data) else None,
        eval_results=[found for result in results if (found := _eval_result(run, result))] or None,
        library_name="peft" if settings.adapter else "transformers",
        license=_licence(base, run) or "unknown",
        model_name=name,
        pipeline_tag="text-generation",
        tags=["self-distillation", run.objective, *(["lora"] if run.config.get("use_peft") else [])],
    )


def _is_on_hub(name: str) -> bool:
    return bool(HUB_NAME.fullmatch(name)) and not Path(name).exists()


def _eval_result(run: Run, result: Change) -> EvalResult | None:
    if result.after is None:
        return None
    setting = next((key for title, key in DATA_SETTINGS.items() if title_text(title) == result.title), "")
    data = _public(str(run.config.get(setting, "rows")))
    interval = result.after.interval
    return EvalResult(
        task_type="text-generation",
        dataset_type=data,
        dataset_name=f"{result.title} ({data})",
        metric_type="accuracy",
        metric_name="accuracy",
        metric_value=round(result.after.accuracy, 4),
        metric_args={
            "rows": result.after.rows,
            "interval_95": [round(interval.low, 4), round(interval.high, 4)] if interval else None,
            "before": round(result.before.accuracy, 4) if result.before else None,
        },
    )


def _licence(base: str, run: Run) -> str | None:
    """The licence that the card of the base model names, where that card is here."""
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    try:
        file = cached_file(base, "README.md", local_files_only=bool(run.config.get("local_files_only")), **quiet)
        card: Any = ModelCard.load(file, ignore_metadata_errors=True).data if file else None
        return card.license if card else None
    except (OSError, ValueError):  # no such model any more, or a card that can't be read: nothing is known
        return None


def _what(run: Run, chosen: Chosen, settings: Export) -> str:
    base = _public(str(run.config.get("model_name_or_path", "a model")))
    kind = "LoRA adapters for" if settings.adapter else "A version of"
    way = OBJECTIVES.get(run.objective, run.objective)
    merged = " The LoRA adapters that were trained are merged into it." if _is_merged(run, settings) else ""
    return (
        f"{kind} `{base}`, by {way}. This is the checkpoint of step {chosen.step} of {run.last_step} "
        f"({chosen.why}), in {settings.dtype}.{merged}"
    )


def _is_merged(run: Run, settings: Export) -> bool:
    return bool(run.config.get("use_peft")) and not settings.adapter


# ── how it is used


def _usage(settings: Export, name: str, base: str) -> str:
    where = settings.push_to_hub or name
    loading = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{where}")',
        f'model = AutoModelForCausalLM.from_pretrained("{where}", dtype="auto")',
        'messages = [{"role": "user", "content": "What is the weather in Oslo tomorrow?"}]',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
        ")",
        "answer = model.generate(**inputs, max_new_tokens=256)[0, inputs.input_ids.shape[1] :]",
        "print(tokenizer.decode(answer, skip_special_tokens=True))",
    ]
    return "\n".join(loading)


def _serving(settings: Export, name: str, base: str) -> str:
    where = settings.push_to_hub or name
    if settings.adapter:
        return (
            f"`peft` has to be installed for that, and `{_public(base)}` to be where `adapter_config.json` says. "
            f"Served by vLLM: `vllm serve {_public(base)} --enable-lora --lora-modules student={where}`."
        )
    return (
        f"Served by vLLM: `vllm serve {where} --served-model-name student`; on a GPU with half the weights' memory: "
        f"`vllm serve {where} --quantization fp8`. As GGUF for llama.cpp and Ollama, with llama.cpp's own program: "
        f"`python convert_hf_to_gguf.py {where} --outtype q8_0`."
    )


# ── what is not known of it


def _limits(run: Run, chosen: Chosen, settings: Export, results: list[Change]) -> list[str]:
    """What whoever takes it has to know; each is a fact of the run, or that something was not measured."""
    by_title = {result.title: result for result in results}
    limits = [*_of_the_run(run, chosen)]
    limits += _of_the_skill(by_title.get(title_text("new_skill")))
    limits += _of_what_was_lost(by_title.get(title_text("prior_skills")))
    if chosen.is_last:
        limits += [f"Most was lost in {text}." for text in _lost_groups(run)]
    limits.append(
        f"Prompts of up to {run.config.get('max_prompt_length')} tokens and answers of up to "
        f"{run.config.get('max_completion_length')} were trained and scored; it was not tried beyond."
    )
    if settings.dtype != "float32" and results:
        limits.append(f"The scores are those of the weights before they were rounded to {settings.dtype}.")
    limits.append("Whether its answers are safe, fair or true was not measured. The base model's own limits hold.")
    if _licence(str(run.config.get("model_name_or_path", "")), run) is None:
        limits.append("Its licence is that of the base model, which is not known here. Fill it in above.")
    return limits


def _of_the_run(run: Run, chosen: Chosen) -> list[str]:
    if run.status == "finished":
        return []
    return [f"The run it is from did not come to its end: it is {run.status}, and this is step {chosen.step}."]


def _of_the_skill(result: Change | None) -> list[str]:
    if result is None or result.after is None:
        return ["Whether it learnt the new skill was not measured."]
    if result.interval is not None and result.interval.low > 0:
        return [f"Of the new skill's rows it gets {percent(1 - result.after.accuracy)} wrong."]
    if result.difference is not None and result.rows:
        return ["That it learnt the new skill can't be shown by the rows that were scored."]
    return []


def _of_what_was_lost(result: Change | None) -> list[str]:
    if result is None or result.after is None:
        return ["What it forgot was not measured: try it on the work that it did before."]
    if result.interval is not None and result.interval.high < 0:
        lost = (
            f"{points(result.difference or 0)} points, {points(result.interval.low)} to {points(result.interval.high)}"
        )
        return [f"It forgot: prior skills changed by {lost}. Don't take it for work that needs them."]
    return []


def _lost_groups(run: Run) -> list[str]:
    """Groups of prior skills whose accuracy fell by much."""
    before, after = (run.scores[moment].get("prior_skills") for moment in ("before", "after"))
    kinds: dict[str, Any] = (before.values.get("by") if before else None) or {}
    then: dict[str, Any] = (after.values.get("by") if after else None) or {}
    return [
        f"{kind} {name}: {percent(was['accuracy'])} → {percent(now['accuracy'])} of {was['rows']} rows"
        for kind, groups in kinds.items()
        for name, was in groups.items()
        if (now := then.get(kind, {}).get(name)) and was["rows"] >= FEWEST and was["accuracy"] - now["accuracy"] >= LOST
    ]


# ── how it was made


def _made(run: Run) -> str:
    commit = run.environment.get("git_commit")
    version = run.environment.get("trainer", "unknown")
    return f"By Self-Distillation {version}{f', commit `{commit}`' if commit else ''}."


def _facts(run: Run) -> dict[str, cards.Card]:
    """Where and on what, in tables; files by their names and digests."""
    packages = run.environment.get("packages") or {}
    run_card = {
        "Objective": run.objective,
        "Teacher": cards.teacher(run),
        "Steps": f"{run.last_step:,}",
        "Wall time": cards.wall_time(run),
        "Device": f"{run.environment.get('device_count', 1)} × {run.environment.get('device', 'unknown')}",
        "Versions": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }
    files = {_public(str(name)): f"`{digest}`" for name, digest in (run.environment.get("files") or {}).items()}
    found = {"Run": {name: _cell(text) for name, text in run_card.items() if text}}
    return found | ({"Files of data and base model": {_cell(name): files[name] for name in files}} if files else {})


def _deciding(run: Run) -> dict[str, Any]:
    """The settings that decide what comes out and are not the default ones; no secret is among them."""
    fields = {f.name: f for f in dataclasses.fields(Train)}
    found = {}
    for name, value in run.config.items():
        known = fields.get(name)
        if known is not None and (not known.metadata["decides"] or value == known.default):
            continue
        found[name] = _public(str(value)) if name in PATHS else value if known else cards.shown(name, value)
    return found


def _commands(run: Run) -> str:
    commit = run.environment.get("git_commit")
    asks_teacher = run.objective in ("served", "seqkd") or run.config.get("demonstrations") == "teacher"
    where = " http://localhost:8000" if asks_teacher else ""
    lines = [f"git checkout {commit}"] if commit else []
    return "\n".join([*lines, f"sdft train{where} --config config.yaml --output_dir outputs/again"])


def _has_folders(run: Run) -> bool:
    return any(_public(str(run.config[name])) != str(run.config[name]) for name in PATHS if name in run.config)


def _public(path: str) -> str:
    """A path without the folders of the machine that it is on."""
    return ",".join(Path(each).name if each.startswith(("/", "~", "..")) else each for each in path.split(","))


def _cell(text: str) -> str:
    """Text that stays within a cell of a table, and text: a server's words on itself stand there, too."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
