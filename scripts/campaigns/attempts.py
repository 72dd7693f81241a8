"""The inputs of the fuzzer by subject and number: a command, its files and its environment, each always the same."""

import contextlib
import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaigns.bad_files import ODD_YAML, alter, contained
from campaigns.mutations import NUMBERS, TEXTS, damaged, json_text, mutated
from campaigns.odd_settings import ODD_ENVIRONMENT, TRLS, WHERE, odd_setting
from campaigns.samples import CATALOGUES, FORMATS, OPENAPI, RECIPE, ROOT, WITH_TOOLS
from campaigns.teachers.fake_teacher import FakeTeacher

STUDENT = ROOT / "data" / "tiny_world" / "student"
TRAIN = {
    "model_name_or_path": STUDENT,
    "max_prompt_length": 512,
    "max_completion_length": 4,
    "num_prompts_per_batch": 2,
    "per_device_train_batch_size": 2,
    "max_steps": 1,
}
GENERATE = {"train_samples": 2, "eval_samples": 1, "max_tokens": 16, "teacher_patience": 0.2, "out_dir": "made"}
GOOD = [{"prompt": f"How much is {n}+1?", "golden_response": f"It is {n + 1}."} for n in range(6)]
Words = list[str]


def flags(values: dict[str, Any]) -> Words:
    return [str(word) for name, value in values.items() for word in (f"--{name}", value)]


@dataclass
class Attempt:
    """One input: a command, and the environment in which it is given beside the usual one (None takes a name out)."""

    words: list[str]
    environ: dict[str, str | None] = field(default_factory=dict)


class World:
    """What attempts are made in: a server that answers, good data, and finished runs.

    Args:
        folder: Gets what is made once.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        import datasets.config

        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        self.rows = folder / "rows.json"
        self.rows.write_text(json.dumps(GOOD))
        self.teacher = FakeTeacher().__enter__()
        self._run: Path | None = None
        self._odd: FakeTeacher | None = None

    def attempt(self, seed: int, subject: str, number: int, place: Path) -> Attempt:
        """The input of a number; it is always the same."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "data").symlink_to(ROOT / "data")
        make: Callable[[random.Random, Path], Attempt] = getattr(self, subject)
        return make(random.Random(f"{seed}/{subject}/{number}"), place)

    # ---- data

    def data(self, draw: random.Random, place: Path) -> Attempt:
        return Attempt(self.reading(draw, str(self.data_file(draw, place))))

    def data_file(self, draw: random.Random, place: Path) -> Path:
        """A file of a few rows of one format, some of them bad, in some container."""
        good = draw.choice(FORMATS)
        records = [good, *(mutated(good, draw) for _ in range(draw.randint(1, 3)))]
        if draw.random() < 0.2:
            records.append(mutated(draw.choice(FORMATS), draw))
        draw.shuffle(records)
        file = place / draw.choice(
            ("rows", "rows", "zwei Wörter", "a,b", "x[1]", "-rows", "rows#1", "{rows}", "r" * 200)
        )
        container = draw.choice(
            ("json", "json", "jsonl", "jsonl", "csv", "tsv", "parquet", "arrow", "columns", "wrapped")
        )
        content = contained(records, container, draw)
        suffix = {"columns": "json", "wrapped": "json"}.get(container, container)
        suffix = draw.choice(("txt", "jsonl", "parquet", "json.gz", "")) if draw.random() < 0.05 else suffix
        content = damaged(content, draw) if draw.random() < 0.15 else content
        file = file.with_name(f"{file.name}.{suffix}")
        file.write_bytes(content)
        return file

    def reading(self, draw: random.Random, file: str) -> Words:
        """A command that reads rows."""
        more: dict[str, Any] = {}
        if draw.random() < 0.3:
            more["skip_bad_rows"] = "true"
        if draw.random() < 0.2:
            more["turns"] = "last"
        if draw.random() < 0.1:
            more["columns"] = draw.choice(
                ("prompt=question", 'prompt="{question} {x}",golden_response=answer', "a=b", "=", "{")
            )
        kind = draw.random()
        if kind < 0.45:
            objective = draw.choice(("sdft", "sdft", "sft", "served"))
            chosen = TRAIN | more | {"objective": objective, "train_data_path": file, "num_prompts_per_batch": 1}
            chosen |= {"show_context": draw.choice(("template", "turns", "system"))} if draw.random() < 0.3 else {}
            chosen |= {"demonstrations_shown": 2} if draw.random() < 0.1 else {}
            extra = (
                {draw.choice(("eval_data_path", "prior_data_path", "replay_data_path")): file}
                if draw.random() < 0.2
                else {}
            )
            address = [self.teacher.url] if objective == "served" else []
            return ["train", *address, "--dry_run", "--local_files_only", *flags(chosen | extra)]
        if kind < 0.65:
            lengths = {"max_completion_length": 4, "max_eval_samples": 3, "max_prompt_length": 512}
            shown = ["--with_demonstration"] if draw.random() < 0.2 else []
            chosen = (
                {"model_name_or_path": STUDENT, "eval_data_path": file, "output_file": "scores.json"} | lengths | more
            )
            return ["eval", "--local_files_only", *shown, *flags(chosen)]
        if kind < 0.8:
            served = {
                "served": self.teacher.url,
                "eval_data_path": file,
                "teacher_patience": 0.2,
                "max_eval_samples": 5,
            }
            judge = {"judge": self.teacher.url} if draw.random() < 0.2 else {}
            return ["eval", *flags(served | judge | more)]
        form = {"format": draw.choice(("json", "jsonl", "parquet"))}
        chosen = GENERATE | {"base_url": self.teacher.url, "prompts": file, "train_samples": 1, "eval_samples": 0}
        return ["generate", *flags(chosen | form | more)]

    # ---- documents

    def tools(self, draw: random.Random, place: Path) -> Attempt:
        document = mutated(draw.choice((*CATALOGUES, OPENAPI, OPENAPI, OPENAPI)), draw)
        file = self.document(document, place / "tools", draw)
        if draw.random() < 0.5:
            return Attempt(
                ["generate", *flags(GENERATE | {"base_url": self.teacher.url, "recipe": "tooluse", "tools": file})]
            )
        chosen = TRAIN | {"train_data_path": self.rows, "tools": file}
        return Attempt(["train", "--dry_run", "--local_files_only", *flags(chosen)])

    def recipes(self, draw: random.Random, place: Path) -> Attempt:
        file = self.document(mutated(draw.choice((RECIPE, WITH_TOOLS)), draw), place / "recipe", draw, "yaml")
        prompts = {"prompts": self.rows} if draw.random() < 0.2 else {}
        judged = {"judge": 5} if draw.random() < 0.2 else {}
        chosen = GENERATE | {"base_url": self.teacher.url, "recipe": file} | prompts | judged
        return Attempt(["generate", *flags(chosen)])

    def config(self, draw: random.Random, place: Path) -> Attempt:
        command = draw.choice(("train", "train", "eval", "generate", "check", "report", "export", "compare"))
        settings = self.odd_settings(command, draw)
        file = self.document(
            mutated(settings, draw) if draw.random() < 0.4 else settings, place / "config", draw, "yaml"
        )
        return Attempt([command, "--config", str(file), *self.safe(command)])

    def document(self, content: Any, file: Path, draw: random.Random, suffix: str | None = None) -> Path:
        """A JSON or YAML file, now and then damaged, or with what YAML has and JSON has not."""
        import yaml

        suffix = suffix or draw.choice(("json", "yaml"))
        text = json_text(content, draw)
        if suffix == "yaml" and draw.random() < 0.5:
            with contextlib.suppress(
                Exception
            ):  # deep or odd values that YAML's writer refuses stay JSON, which YAML is
                text = yaml.safe_dump(content, allow_unicode=draw.random() < 0.5)
        if suffix == "yaml" and draw.random() < 0.15:
            text += draw.choice(ODD_YAML)
        data = text.encode("utf-8", "surrogatepass")
        file = file.with_suffix(f".{suffix}")
        file.write_bytes(damaged(data, draw) if draw.random() < 0.2 else data)
        return file

    # ---- settings

    def flags(self, draw: random.Random, place: Path) -> Attempt:
        command = draw.choice(("train", "train", "eval", "generate", "check", "report", "export", "compare"))
        words = flags(self.odd_settings(command, draw))
        for _ in range(draw.choice((0, 0, 1, 2))):
            where = draw.randint(0, len(words))
            odd = draw.choice(
                (*TEXTS[:60], "--", "-h", "--help", "--config", "---x", "-x", "--=", "=", "http://127.0.0.1:9", "--x=y")
            )
            words[where:where] = [odd.replace("\x00", "")]
        if draw.random() < 0.1 and words:
            del words[draw.randrange(len(words))]
        if draw.random() < 0.03:
            command = draw.choice(("", "--help", "help", "version", "-V", "tarin", "--config", "train "))
        words = [word.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape") for word in words]
        return Attempt([command, *self.safe(command), *words])

    def environment(self, draw: random.Random, place: Path) -> Attempt:
        command = draw.choice(("train", "eval", "generate", "check", "report", "export", "compare"))
        settings = {f"SDFT_{name.upper()}": str(value) for name, value in self.odd_settings(command, draw).items()}
        settings |= dict(draw.sample(ODD_ENVIRONMENT, draw.choice((0, 1, 2))))
        clean = {
            name: None if value is None else value.replace("\x00", "").encode("utf-8", "replace").decode()
            for name, value in settings.items()
        }
        return Attempt([command, *self.safe(command)], clean)

    def odd_settings(self, command: str, draw: random.Random) -> dict[str, Any]:
        """One to three settings of a command with values that are at the edge, of a wrong type, or mean nothing."""
        import dataclasses

        from trainer.settings.options import SUBCOMMANDS

        known = [f for f in dataclasses.fields(SUBCOMMANDS[command]) if f.name not in WHERE]
        chosen = {f.name: odd_setting(f, draw) for f in draw.sample(known, min(len(known), draw.randint(1, 3)))}
        if command == "train" and draw.random() < 0.4:
            chosen[draw.choice(TRLS)] = draw.choice(
                (*NUMBERS[:8], *TEXTS[:24], "no", "steps", "epoch", "adamw_torch", "linear")
            )
        return chosen

    def safe(self, command: str) -> Words:
        """What lets a command work on small things, and where it can't do harm; odd values come after it."""
        rows, url = self.rows, self.teacher.url
        chosen: dict[str, Any] = {
            "train": TRAIN | {"train_data_path": rows, "output_dir": "run"},
            "eval": {
                "model_name_or_path": STUDENT,
                "eval_data_path": rows,
                "max_completion_length": 4,
                "max_eval_samples": 2,
            },
            "generate": GENERATE | {"base_url": url},
            "check": {"vllm_server_base_url": url, "model_name_or_path": STUDENT, "teacher_patience": 0.2},
            "report": {"output_file": "report.html"},
            "export": {"output_dir": "model"},
            "compare": {"prompt": "q?", "max_completion_length": 4},
        }.get(command, {})
        return flags(chosen) + (["--dry_run"] if command == "train" else [])

    # ---- runs

    def runs(self, draw: random.Random, place: Path) -> Attempt:
        run = place / "run"
        shutil.copytree(self.finished(), run)
        for _ in range(draw.choice((1, 1, 2, 3))):
            alter(run, draw)
        kind = draw.choice(("report", "report", "export", "export", "train", "train", "eval", "compare", "replay"))
        arguments = {
            "report": [str(run), "--output_file", "report.html"],
            "export": [str(run), "--output_dir", "model", "--local_files_only", "--dry_run"],
            "train": [*self.small_run(), "--output_dir", str(run)],
            "eval": [
                "--local_files_only",
                *flags(
                    {
                        "model_name_or_path": STUDENT,
                        "eval_data_path": self.rows,
                        "max_completion_length": 4,
                        "baseline": run / "scores_before.json",
                    }
                ),
            ],
            "compare": [
                str(run),
                str(STUDENT),
                *flags({"prompt": "q?", "max_completion_length": 4}),
                "--local_files_only",
            ],
            "replay": [
                "--dry_run",
                "--local_files_only",
                *flags(TRAIN | {"train_data_path": self.rows, "replay_data_path": run, "output_dir": "other"}),
            ],
        }[kind]
        return Attempt(["train" if kind == "replay" else kind, *arguments])

    def small_run(self) -> Words:
        chosen = TRAIN | {
            "train_data_path": self.rows,
            "eval_data_path": self.rows,
            "max_eval_samples": 2,
            "max_steps": 2,
            "save_steps": 1,
        }
        return [*flags(chosen), "--local_files_only"]

    def finished(self) -> Path:
        """A finished run of two steps."""
        from trainer.__main__ import main

        if self._run is None:
            run = self.folder / "run"
            shutil.rmtree(run, ignore_errors=True)
            with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
                code = main(["train", *self.small_run(), "--output_dir", str(run)])
            if code:
                raise RuntimeError(f"a good run ended with exit code {code}: {said.getvalue()[-500:]}")
            self._run = run
        return self._run

    # ---- answers

    def answers(self, draw: random.Random, place: Path) -> Attempt:
        world = self

        class Odd(FakeTeacher):
            """Its answers are altered, some of them, in a way that the question alone and its repetitions decide."""

            def answer(self, request: Any) -> tuple[int, Any, dict[str, str]]:
                asked = json.dumps([request.path, request.body])
                times[asked] += 1
                chance = random.Random(f"{salt}/{asked}/{times[asked]}")
                good = FakeTeacher.answer(self, request)
                return good if chance.random() > share else world.odd_answer(*good[:2], chance)

        salt, share, times = draw.random(), draw.choice((0.1, 0.3, 1.0)), Counter()
        if self._odd is not None:
            self._odd.__exit__()
        teacher = self._odd = Odd(max_logprobs=20).__enter__()
        teacher._server.handle_error = lambda *_: None  # a client that hangs up is told of by `socketserver` on stderr
        url, patient = teacher.url, {"teacher_patience": 0.3}
        commands = {
            "check": [url, *flags({"model_name_or_path": STUDENT} | patient)],
            "generate": flags(GENERATE | {"base_url": url, "recipe": draw.choice(("qa", "tooluse"))}),
            "eval": flags({"served": url, "eval_data_path": self.rows} | patient),
            "train": [
                url,
                "--local_files_only",
                *flags(
                    TRAIN
                    | patient
                    | {
                        "train_data_path": self.rows,
                        "objective": draw.choice(("served", "seqkd", "sdft")),
                        "output_dir": "run",
                        "teacher_top_k": 5,
                        "tokenizer_route": draw.choice(("auto", "byte")),
                        "teacher_tokenizer": STUDENT,
                    }
                ),
            ],
            "compare": [url, url, "--prompt", "q?", *flags(patient)],
        }
        command = draw.choice(list(commands))
        return Attempt([command, *commands[command]])

    def odd_answer(self, status: int, body: Any, draw: random.Random) -> tuple[int, Any, dict[str, str]]:
        kind = draw.random()
        headers: dict[str, str] = {}
        if kind < 0.75:
            body = json_text(mutated(body, draw), draw)
        elif kind < 0.85:
            status = draw.choice((204, 301, 302, 400, 401, 403, 404, 405, 408, 413, 418, 422, 429, 500, 502, 503, 529))
            headers = dict(
                draw.sample((("retry-after", "abc"), ("retry-after", "-1"), ("location", "/x"), ("location", "::")), 1)
            )
            body = draw.choice(
                ("", "<html>busy</html>", {"error": None}, {"error": {"message": 5}}, {"detail": [{"loc": 1}]}, body)
            )
        else:
            headers = {"content-type": draw.choice(("text/html", "", "application/json; charset=utf-16", "image/png"))}
            body = damaged(json.dumps(body).encode(), draw).decode("latin-1")
        return status, body, headers
