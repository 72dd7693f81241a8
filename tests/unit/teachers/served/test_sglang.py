"""SGLang's own API as a second speaker of scores: the same numbers as by vLLM's, found out by asking."""

import asyncio
import json

import numpy as np
import pytest
from fake_sglang import LAST, FakeSglang
from fake_teacher import FakeTeacher

from trainer.__main__ import main
from trainer.errors import TeacherError
from trainer.teachers.served import sglang
from trainer.teachers.served.client import TeacherClient
from trainer.teachers.tokens.token_bytes import detect_spelling

PROMPT, COMPLETION = [5, 6, 7, 8], [9, 300, LAST, 4]


def ask(server, question):
    async def asking():
        async with TeacherClient(server.url, "glm-4.7", patience=0) as client:
            return await question(client)

    return asyncio.run(asking())


def score(server, **more):
    return ask(server, lambda client: client.score(PROMPT, COMPLETION, top_k=5, **more))


def test_both_speakers_tell_the_same_scores_of_the_same_tokens():
    with FakeSglang() as other, FakeTeacher() as vllm:
        theirs, ours = score(vllm), score(other)
        sent = [request.body for request in other.requests if request.path == "/generate"]
    np.testing.assert_allclose(ours.sampled_logps_N, theirs.sampled_logps_N, rtol=1e-6)
    np.testing.assert_allclose(ours.logps_NK, theirs.logps_NK, rtol=1e-6)
    np.testing.assert_array_equal(ours.token_ids_NK, np.where(theirs.token_ids_NK == LAST, 0, theirs.token_ids_NK))
    assert sent == [
        {
            "input_ids": PROMPT + COMPLETION,
            "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
            "return_logprob": True,
            "logprob_start_len": 3,
            "top_logprobs_num": 5,
            "return_text_in_logprobs": False,
        }
    ]


def test_who_scores_is_found_out_once_and_a_vllm_is_never_asked():
    async def twice(client):
        await client.score(PROMPT, COMPLETION, top_k=5)
        await client.score(PROMPT, COMPLETION, top_k=5)
        return await client.max_logprobs()

    with FakeSglang() as other:
        assert ask(other, twice) == 100
        paths = [request.path for request in other.requests]
    assert paths[0] == "/v1/completions" and paths.count("/model_info") == 1
    found = paths.index("/model_info")
    assert paths[found + 1 :] == ["/generate", "/generate", "/tokenize", "/generate"]
    with FakeTeacher() as vllm:
        score(vllm)
        assert [request.path for request in vllm.requests] == ["/v1/completions"]


def test_texts_of_tokens_come_where_they_are_asked_for():
    with FakeSglang() as other:
        texts = score(other, with_texts=True).decoded
    assert texts[9] == "<0x09>"


def test_check_knows_the_server_by_its_description_and_what_it_is_fit_for(capsys):
    with FakeSglang() as other:
        assert main(["check", other.url]) == 0
    told = capsys.readouterr().out
    assert f"{other.url} is healthy, SGLang" in told
    assert "ok    fit for             --objective sdft, seqkd and served" in told


def answer(own, tops):
    return json.dumps({"meta_info": {"input_token_logprobs": own, "input_top_logprobs": tops}}).encode()


OWN = [[None, 8, None], [-1.0, 9, None]]


@pytest.mark.parametrize(
    ("own", "tops", "message"),
    [
        (OWN[:1], [None], "of 0 and 0 positions, expected 1"),
        ([OWN[0], [-1.0, 77, None]], [None, [[-0.5, 3, None]]], "no log-probability for token 9 at position 4"),
        ([OWN[0], [None, 9, None]], [None, [[-0.5, 3, None]]], "the log-probability nan for token 9"),
        (OWN, [None, [[-0.5, 3, None]]], "gave 1 of the 2 likeliest tokens"),
        ([OWN[0], [3.0, 9, None]], [None, [[3.0, 9, None]]], "no log-probabilities at temperature 1"),
        (OWN, [None, [[None, 3, None]]], "no log-probability of a likely token"),
        (OWN, None, "expected log-probabilities of a prompt as SGLang's /generate gives them"),
    ],
)
def test_what_is_no_score_is_refused(own, tops, message):
    with pytest.raises(TeacherError, match=message):
        sglang.decode_scores(answer(own, tops), [9], 4, 2)


def test_a_token_of_no_probability_is_none_of_the_likeliest():
    body = answer(OWN, [None, [[-0.4586, 3, None], [-1.0, 9, None]]])
    scores = sglang.decode_scores(body, [9], 4, 3)
    assert scores.token_ids_NK.tolist() == [[3, 9, -1]] and scores.logps_NK[0, 2] == -np.inf


def test_another_tokenizer_needs_strings_of_tokens_which_it_does_not_tell():
    with pytest.raises(TeacherError, match=r"tells ids of tokens and no strings.*--objective sdft or seqkd"):
        detect_spelling([("a text", [])])
