"""The student: its tokenizer, its context window, where its turns end."""

import dataclasses
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from ..data.chat_template import ChatTemplate
from ..data.prompts import PromptEncoder
from ..data.showing import Showing
from ..errors import UsageError
from ..settings.options import Check, Eval, Student, Train
from .configuration import base_of, first_line, is_adapter, positions_of, read_configuration
from .loading import require_loadable

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def load_tokenizer(settings: Student) -> PreTrainedTokenizerBase:
    """The student's tokenizer, padding on the left, with the chat template of `--chat_template` where that is given.

    Raises:
        UsageError: the folder or hub name has none, or no such chat template.
    """
    name = settings.model_name_or_path
    if is_adapter(name) and not any((Path(name) / file).is_file() for file in TOKENIZER_FILES):
        name = base_of(name)  # peft saves adapters alone
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=settings.local_files_only, padding_side="left")
        if not tokenizer("a text")["input_ids"]:
            raise ValueError("transformers made one without a vocabulary, as it does where it finds no file.")
    except Exception as error:  # whatever transformers and tokenizers make of the files, they are the user's
        raise UsageError(
            f"no tokenizer at {name!r}: {first_line(error)} Expected tokenizer.json beside the weights; "
            "save it there with `AutoTokenizer.from_pretrained(ORIGIN).save_pretrained(FOLDER)`."
        ) from error
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"the tokenizer of {name!r} has no end-of-turn token; set `eos_token` in tokenizer_config.json."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    choose_template(tokenizer, settings.chat_template)
    return tokenizer


def choose_template(tokenizer: PreTrainedTokenizerBase, asked: str | None) -> None:
    """Give the tokenizer the chat template that `--chat_template` names: one of its own, or the one in a file.

    Raises:
        UsageError: there is no such template, or it is none; or of several none is the default, and none is named.
    """
    named = tokenizer.chat_template if isinstance(tokenizer.chat_template, dict) else {}
    names = ", ".join(named) or "no names"
    if asked is None:
        if named and "default" not in named:
            raise UsageError(
                f"the tokenizer of {tokenizer.name_or_path!r} has the chat templates {names}, and none is the default. "
                "Pass --chat_template NAME."
            )
        return
    if asked in named:
        tokenizer.chat_template = named[asked]
    elif Path(asked).is_file():
        tokenizer.chat_template = _template_in(Path(asked))
    else:  # transformers would take the name itself for a template, and render every prompt as it
        raise UsageError(
            f"--chat_template is {asked!r}: there is no such file, and the chat templates of "
            f"{tokenizer.name_or_path!r} have {names}. Pass one of the names, or a Jinja file."
        )


def _template_in(file: Path) -> str:
    """The text of a Jinja file, which has to be a program that can be read."""
    try:
        text = file.read_text(encoding="utf-8")
        render_jinja_template([[{"role": "user", "content": "a text"}]], chat_template=text)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read --chat_template {file}: {error}") from error
    except TemplateSyntaxError as error:
        raise UsageError(f"--chat_template {file}, line {error.lineno}: {error.message}") from error
    except (TemplateError, TypeError):  # without the tokenizer's own tokens it means nothing; rows will tell
        pass
    return text


def context_window(settings: Student) -> int:
    """Positions that the student's configuration admits.

    Raises:
        UsageError: there is no such model, it can't be loaded, or prompt and completion together do not fit.
    """
    name, window = settings.model_name_or_path, positions_of(require_loadable(settings))
    wanted = settings.max_prompt_length + settings.max_completion_length
    if wanted > window:
        raise UsageError(
            f"--max_prompt_length {settings.max_prompt_length} plus --max_completion_length "
            f"{settings.max_completion_length} is {wanted} tokens; {name!r} has a context of {window}. Lower one."
        )
    return window


def encoder_for(settings: Train | Eval | Check, tokenizer: PreTrainedTokenizerBase, window: int) -> PromptEncoder:
    """The prompt encoder of a student with `window` positions.

    Tokens that its embeddings lack are told; where the padding is one of them, the end-of-sequence token takes its
    place, since padding is fed to the model too.
    """
    return PromptEncoder(
        tokenizer,
        max_prompt_length=settings.max_prompt_length,
        context_room=window - settings.max_completion_length,
        max_completion_length=settings.max_completion_length,
        showing=Showing.of(settings),
        enable_thinking=settings.enable_thinking,
        embeddings=_embeddings(settings, tokenizer),
    )


def teacher_of(settings: Train) -> Train | None:
    """The settings as if the model of `--teacher_model_name_or_path` were the student; None where there is none."""
    name = settings.teacher_model_name_or_path
    return None if name is None else dataclasses.replace(settings, model_name_or_path=name)


def require_teacher_model(settings: Train, tokenizer: PreTrainedTokenizerBase) -> None:
    """See that the model of `--teacher_model_name_or_path`, if there is one, can view a student's rollouts.

    Raises:
        UsageError: it can't be loaded, has a smaller context than is wanted, or other tokens than the student.
    """
    teacher = teacher_of(settings)
    if teacher is None:
        return
    context_window(teacher)
    wide, own = (read_configuration(each).get_text_config().vocab_size for each in (teacher, settings))
    if wide != own or load_tokenizer(teacher).get_vocab() != tokenizer.get_vocab():
        what = (
            f"scores {wide} tokens and the student {own}" if wide != own else "has another tokenizer than the student"
        )
        raise UsageError(
            f"the teacher {teacher.model_name_or_path!r} {what}. Serve it with vLLM, and pass its URL and --objective "
            "served: that needs no common tokens."
        )


def _embeddings(settings: Student, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens that the student has embeddings of, where its tokenizer knows more; None where all have one."""
    rows: int = read_configuration(settings).get_text_config().vocab_size
    beyond = sorted(token for token in tokenizer.get_vocab().values() if token >= rows)
    if not beyond:
        return None
    names = ", ".join(f"{tokenizer.convert_ids_to_tokens(token)} ({token})" for token in beyond[:5])
    print(
        f"warning: the model has embeddings of {rows} tokens, and its tokenizer knows {len(beyond)} more: {names}"
        f"{', …' if len(beyond) > 5 else ''}; a row with one of these is refused"
    )
    eos: Any = tokenizer.eos_token_id
    if eos >= rows:
        raise UsageError(
            f"the end-of-sequence token of {settings.model_name_or_path!r} has no embedding. Resize them, "
            "`model.resize_token_embeddings(len(tokenizer))`, and save the model."
        )
    if tokenizer.pad_token_id in beyond:
        print(f"padding with {tokenizer.eos_token} instead of {tokenizer.pad_token}, which has no embedding")
        tokenizer.pad_token = tokenizer.eos_token
    return rows


def end_token_ids(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Every token id that ends a completion, the end of a turn in the chat template first.

    The others are the tokenizer's end of sequence and those that the model declares, as TRL takes them.
    """
    declared = getattr(model.generation_config, "eos_token_id", None)
    ids = [declared] if isinstance(declared, int) else list(declared or [])
    own = [tokenizer.eos_token_id] if tokenizer.chat_template is None else ChatTemplate(tokenizer).stop_ids
    return list(dict.fromkeys([*own, *ids]))


def end_as_turns_do(model: PreTrainedModel, tokenizer: Any) -> None:
    """Let the model's generation, and that of its checkpoints, stop where its chat template ends a turn."""
    config: Any = model.generation_config
    declared = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ends = end_token_ids(model, tokenizer)
    if not {*ends} <= {*declared, tokenizer.eos_token_id}:  # the last TRL and transformers add by themselves
        config.eos_token_id = ends
