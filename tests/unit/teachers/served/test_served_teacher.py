"""The served teacher as the training loop sees it."""

import asyncio
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from fake_teacher import FakeTeacher, Fault, scattered
from tenacity import wait_none

from trainer.data.rows.row import Row
from trainer.data.showing import Showing
from trainer.errors import TeacherError
from trainer.settings.options import TEACHER_PROMPT_TEMPLATE
from trainer.teachers.served import replicas as replicas_module
from trainer.teachers.served import retries as retries_module
from trainer.teachers.served import served as served_module
from trainer.teachers.served.background import Background
from trainer.teachers.served.cache import ScoreCache
from trainer.teachers.served.client import TeacherClient
from trainer.teachers.served.identity import signatures
from trainer.teachers.served.pace import Pace
from trainer.teachers.served.retries import PatientRequests
from trainer.teachers.served.routes import ByteRoute, TokenRoute
from trainer.teachers.served.sanity import Watch
from trainer.teachers.served.served import Recognition, ServedTeacher, TeacherPrompts
from trainer.teachers.tokens.alignment import NoSignal
from trainer.teachers.tokens.projection import Spellings
from trainer.teachers.tokens.token_bytes import Spelling, Vocabulary

ROWS = [
    Row("r0", [{"role": "user", "content": "Which way?"}], "Action: go"),
    Row("r1", [{"role": "user", "content": "And now?"}], None),
]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(retries_module, "BACKOFF", wait_none())


async def golden(number):
    return ROWS[number].golden_response


@contextmanager
def served(fake, *, route_of=TokenRoute, cache=None, room=None, demonstration=golden, max_model_len=None):
    """A teacher in front of a fake server."""
    client = TeacherClient(fake.url, "glm-4.7", patience=1)
    with Background() as background:
        background.enter(client)
        prompts = TeacherPrompts(client, ROWS, demonstration, room=room, showing=Showing(), enable_thinking=False)
        measure = partial(signatures, [client], 4, enable_thinking=False)
        (signature_N,) = background.submit(measure()).result()
        fake.requests.clear()
        yield ServedTeacher(
            background, client, prompts, lambda ask: route_of(ask) if route_of is TokenRoute else route_of(ask, client),
            Recognition(client, measure, signature_N), Watch(512), top_k=4, max_model_len=max_model_len, cache=cache,
        )  # fmt: skip


def scorings(fake):
    return [request.body["prompt"] for request in fake.requests if request.path == "/v1/completions"]


def test_a_completion_is_scored_behind_the_prompt_that_the_teachers_template_makes(tokenizer):
    with FakeTeacher(tokenizer=tokenizer) as fake, served(fake) as teacher:
        completion = tokenizer.encode("Action: stay", add_special_tokens=False)
        scores = teacher.request(0, completion).result()
        plain = teacher.request(1, completion).result()
    shown = TEACHER_PROMPT_TEMPLATE.format(prompt="Which way?", demonstration="Action: go")
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True, enable_thinking=False
        )["input_ids"]
        for text in (shown, "And now?")
    ]
    assert scorings(fake) == [[*prompt, *completion] for prompt in prompts]
    for prompt, found in zip(prompts, (scores, plain), strict=True):
        expected = scattered([*prompt, *completion], 4)[len(prompt) :]
        wanted = [row[token] for row, token in zip(expected, completion, strict=True)]
        np.testing.assert_allclose(found.sampled_logps_N, wanted, rtol=1e-6)


def test_the_same_question_is_sent_once_a_step_and_what_the_cache_knows_not_at_all(tokenizer, tmp_path):
    def cache():
        return ScoreCache(tmp_path, "glm-4.7", np.zeros(3, dtype=np.float32), 0.2)

    with FakeTeacher(tokenizer=tokenizer) as fake:
        with served(fake, cache=cache()) as teacher:
            first = teacher.request(0, [7, 8])
            assert teacher.request(0, [7, 8]) is first
            scores = first.result()
            teacher.request(0, [7, 9]).result()
            assert len(scorings(fake)) == 2
            teacher.forget()
            assert teacher.request(0, [7, 8]) is not first
        with served(fake, cache=cache()) as again:
            known = again.request(0, [7, 8]).result()
            assert scorings(fake) == []
    assert np.array_equal(known.logps_NK, scores.logps_NK)
    assert np.array_equal(known.token_ids_NK, scores.token_ids_NK)


def test_a_demonstration_that_is_too_long_loses_its_end_and_a_prompt_that_is_too_long_is_an_error(tokenizer):
    async def long(number):
        return "go on " * 200

    with FakeTeacher(tokenizer=tokenizer) as fake:
        with served(fake, room=120, demonstration=long) as teacher:
            teacher.request(0, [7]).result()
            assert teacher.prompts.cuts == 1
            (ids,) = scorings(fake)
            assert 60 < len(ids) - 1 <= 120
            text = tokenizer.decode(ids)
            assert "Which way?" in text and "Now answer with a response of your own" in text and "go on go on" in text
        with (
            served(fake, room=3) as teacher,
            pytest.raises(TeacherError, match=r"row r0: .*room for 3.*--max-model-len"),
        ):
            teacher.request(0, [7]).result()


def test_prompt_and_completion_beyond_the_context_are_an_error_that_names_the_flag(tokenizer):
    with FakeTeacher(tokenizer=tokenizer) as fake, served(fake, max_model_len=20) as teacher:
        with pytest.raises(TeacherError, match=r"--max-model-len \d+"):
            teacher.request(1, [7] * 20).result()
        assert scorings(fake) == []


def test_after_an_outage_the_same_teacher_goes_on_and_another_one_is_refused(tokenizer, capsys):
    with FakeTeacher(tokenizer=tokenizer) as fake, served(fake) as teacher:
        fake.faults = [Fault(503, "restarting")]
        teacher.request(0, [7, 8]).result()
        assert "the teacher answers again, and is the same" in capsys.readouterr().err
        fake.score = lambda ids, top_k: [{token: 0.0} for token in ids]
        fake.faults = [Fault(503, "restarting")]
        with pytest.raises(TeacherError, match="not the one that this run began with"):
            teacher.request(0, [7, 9]).result()


def test_a_teacher_that_was_exchanged_while_it_was_not_asked_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(served_module, "RESTART_SECONDS", 0.0)
    with FakeTeacher(tokenizer=tokenizer) as fake, served(fake) as teacher:
        teacher.request(0, [7, 8]).result()
        fake.score = lambda ids, top_k: [{token: 0.0} for token in ids]
        with pytest.raises(TeacherError, match="not the one that this run began with"):
            teacher.request(0, [7, 9]).result()


def test_nonsense_is_noticed_while_it_is_asked_for(tokenizer):
    with FakeTeacher(tokenizer=tokenizer) as fake, served(fake) as teacher:
        fake.score = lambda ids, top_k: [{token: -6.2 for token in {own, 1, 2, 3, 4}} for own in ids]
        with pytest.raises(TeacherError, match="teach nothing"):
            teacher.request(0, [7] * 300).result()


# ---- the byte route


def by_bytes(tokenizer, real, dense=False, vocabulary=None):
    """A route for a teacher of another tokenizer whose turn ends with <|eot_id|>."""
    end, student = real.convert_tokens_to_ids("<|eot_id|>"), Vocabulary(tokenizer, [tokenizer.eos_token_id])
    return lambda ask, client: ByteRoute(
        ask, client, student, Spelling.BYTE_LEVEL, end_id=end,
        spellings=Spellings(tokenizer, student) if dense else None, vocabulary=vocabulary,
    )  # fmt: skip


@pytest.fixture
def llama(real_tokenizer):
    tokenizer = real_tokenizer("llama3")
    tokenizer.chat_template = "{% for m in messages %}{{m.role}}: {{m.content}}<|eot_id|>{% endfor %}"
    return tokenizer


TEXT = 'Thought: naïve 東京 🙂\nAction: go\nAction_Input: {"to": "Rome"}'


def test_chunks_of_another_tokenizer_sum_to_the_teachers_log_likelihood_of_the_text(tokenizer, llama):
    completion = [*tokenizer.encode(TEXT, add_special_tokens=False), tokenizer.eos_token_id]
    with FakeTeacher(tokenizer=llama) as fake, served(fake, route_of=by_bytes(tokenizer, llama)) as teacher:
        view = teacher.request(0, completion).result()
    (sent,) = scorings(fake)
    scored = [*llama.encode(TEXT, add_special_tokens=False), llama.convert_tokens_to_ids("<|eot_id|>")]
    assert sent[-len(scored) :] == scored
    expected = sum(row[own] for row, own in list(zip(scattered(sent, 4), sent, strict=True))[-len(scored) :])
    assert view.logps_C.sum() == pytest.approx(expected, rel=1e-5)
    assert view.without_signal == {} and view.chunks_N[-1] == len(view.logps_C) - 1
    assert 1 < len(view.logps_C) < len(completion)


@pytest.mark.parametrize("local", [False, True])
def test_the_dense_term_gives_the_teachers_distribution_where_both_have_one_token(tokenizer, local):
    completion = [*tokenizer.encode(TEXT, add_special_tokens=False), tokenizer.eos_token_id]
    vocabulary = Vocabulary(tokenizer, [tokenizer.eos_token_id]) if local else None
    end = SimpleNamespace(convert_tokens_to_ids=lambda _: tokenizer.eos_token_id)
    with FakeTeacher(tokenizer=tokenizer) as fake:
        with served(fake, route_of=by_bytes(tokenizer, end, dense=True, vocabulary=vocabulary)) as teacher:
            view = teacher.request(0, completion).result()
        with served(fake) as teacher:
            scores = teacher.request(0, completion).result()
    np.testing.assert_allclose(view.logps_C, scores.sampled_logps_N, rtol=1e-6)
    assert view.dense_N.sum() > (0.4 if local else 0.2) * len(completion)
    assert ((view.chunks_N >= 0) | view.dense_N).all()
    for n in np.flatnonzero(view.dense_N):
        assert completion[n] in view.dense.token_ids_NK[n]
        assert np.exp(view.dense.logps_NK[n]).sum() <= 1 + 1e-5


def test_completions_that_can_not_be_read_get_no_signal_and_are_counted(tokenizer, llama):
    broken = [tokenizer.encode("東", add_special_tokens=False)[0], *tokenizer.encode("abc", add_special_tokens=False)]
    with FakeTeacher(tokenizer=llama) as fake, served(fake, route_of=by_bytes(tokenizer, llama)) as teacher:
        view = teacher.request(0, broken).result()
        cut = teacher.request(0, tokenizer.encode("ab東", add_special_tokens=False)[:-1]).result()
        nothing = teacher.request(0, broken[:1]).result()
    assert view.without_signal == {NoSignal.INVALID: len(broken)} and (view.chunks_N == -1).all()
    assert cut.without_signal[NoSignal.INCOMPLETE] > 0 and (cut.chunks_N >= 0).any()
    assert nothing.without_signal == {NoSignal.INCOMPLETE: 1}
    assert len(scorings(fake)) == 2


def test_what_precedes_the_first_byte_that_is_no_text_is_scored_and_dense_tells_what_should_have_come(tokenizer, llama):
    start, stray = tokenizer.encode("Action: go", add_special_tokens=False), tokenizer.encode("東")[0]
    completion = [*start, stray, *start]
    wanted = llama.encode(" the", add_special_tokens=False)[0]
    score = lambda ids, top_k: [{own: -7.0, wanted: -0.0005} for own in ids]  # noqa: E731
    with FakeTeacher(tokenizer=llama, score=score) as fake:
        with served(fake, route_of=by_bytes(tokenizer, llama)) as teacher:
            sampled = teacher.request(0, completion).result()
        with served(fake, route_of=by_bytes(tokenizer, llama, dense=True, vocabulary=Vocabulary(llama))) as teacher:
            dense = teacher.request(0, completion).result()
    lost = len(completion) - len(start)
    assert (sampled.chunks_N[: len(start)] >= 0).all() and (sampled.chunks_N[len(start) :] == -1).all()
    assert sampled.without_signal == {NoSignal.INVALID: lost}
    assert dense.dense_N[len(start)] and not dense.dense_N[len(start) + 1 :].any()
    assert dense.without_signal[NoSignal.INVALID] == lost - 1
    assert dense.dense.token_ids_NK[len(start)][0] == tokenizer.encode(" the", add_special_tokens=False)[0]
    assert stray not in dense.dense.token_ids_NK[len(start)]


def test_a_background_cancels_what_is_still_asked_when_it_ends():
    cancelled = []

    async def forever():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with Background() as background:
        waiting = background.submit(forever())
        background.submit(asyncio.sleep(0)).result()
    assert cancelled == [True] and waiting.cancelled()


def test_a_replica_that_was_not_asked_for_long_may_be_another_teacher(monkeypatch):
    monkeypatch.setattr(replicas_module, "RESTART_SECONDS", 0.1)
    requests = PatientRequests(["http://one", "http://other"], Pace(2), 1.0)
    asked = []

    async def exchange(url):
        asked.append(url)
        await asyncio.sleep(0.02)

    async def together(number):
        await asyncio.gather(*(requests.of_one(exchange) for _ in range(number)))

    async def measure():
        return [np.zeros(3), np.ones(3)]

    async def run():
        requests.base_url = requests.model = "any"
        recognition = Recognition(requests, measure, np.zeros(3))
        await together(2)
        for _ in range(8):
            await together(1)
            await recognition.check()
        assert asked[-8:] == ["http://one"] * 8 and requests.absences == 0
        await together(2)
        with pytest.raises(TeacherError, match="not the one that this run began with"):
            await recognition.check()

    asyncio.run(run())
