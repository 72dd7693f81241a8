"""Who the served teacher is: its tokenizer, its end of turn, its signature."""

import asyncio
import copy

import numpy as np
import pytest
from fake_teacher import FakeTeacher

from trainer.errors import TeacherError
from trainer.teachers.served.client import TeacherClient
from trainer.teachers.served.identity import ANSWER, compare_tokenizers, end_of_turn, signatures
from trainer.teachers.tokens.token_bytes import Spelling


def ask(teacher, work):
    async def within():
        async with TeacherClient(teacher.url, "glm-4.7", patience=0.05) as client:
            return await work(client)

    return asyncio.run(within())


def test_a_teacher_that_cuts_all_texts_alike_takes_the_token_route(tokenizer):
    with FakeTeacher(tokenizer=tokenizer) as teacher:
        found = ask(teacher, lambda client: compare_tokenizers(client, tokenizer, ["a text of the data"]))
    assert (found.route, found.spelling) == ("token", None)
    assert "cut into the same token ids" in found.evidence
    asked = [request.body["prompt"] for request in teacher.requests]
    assert "a text of the data" in asked and any(tokenizer.eos_token in text for text in asked)


def test_another_tokenizer_takes_the_byte_route_and_the_evidence_shows_a_difference(tokenizer, real_tokenizer):
    with FakeTeacher(tokenizer=real_tokenizer("llama3")) as teacher:
        found = ask(teacher, lambda client: compare_tokenizers(client, tokenizer))
    assert (found.route, found.spelling, found.cleaned_up) == ("byte", Spelling.BYTE_LEVEL, False)
    assert "texts are cut into other token ids than the student's" in found.evidence


def test_one_text_that_is_cut_otherwise_is_enough(tokenizer):
    class Almost:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def encode(self, text, **kwargs):
            ids = tokenizer.encode(text, **kwargs)
            return [*ids[:-1], ids[-1] + 1] if "odd one out" in text else ids

    with FakeTeacher(tokenizer=Almost()) as teacher:
        plain = ask(teacher, lambda client: compare_tokenizers(client, tokenizer))
        found = ask(teacher, lambda client: compare_tokenizers(client, tokenizer, ["the odd one out"]))
    assert (plain.route, found.route) == ("token", "byte")
    assert found.evidence.startswith("1 of ") and "'the odd one out'" in found.evidence


def test_the_byte_route_can_be_forced(tokenizer):
    with FakeTeacher(tokenizer=tokenizer) as teacher:
        found = ask(teacher, lambda client: compare_tokenizers(client, tokenizer, force_bytes=True))
    assert found.route == "byte" and "--tokenizer_route byte" in found.evidence


def test_token_strings_that_do_not_spell_the_text_need_a_tokenizer_of_ones_own(tokenizer):
    class Secretive:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def convert_ids_to_tokens(self, ids):
            return ["?" for _ in ids]

    with FakeTeacher(tokenizer=Secretive()) as teacher, pytest.raises(TeacherError, match="--objective sdft or seqkd"):
        ask(teacher, lambda client: compare_tokenizers(client, tokenizer, force_bytes=True))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}", "<|im_end|>"),
        ("{% for m in messages %}<|{{m.role}}|>{{m.content}}{% endfor %}", "<|user|>"),
        ("{% for m in messages %}{{m.role}}: {{m.content}} \n<|end|>{% endfor %}", "<|end|>"),
        ("{% for m in messages %}{{m.role}}: {{m.content}}\n{% endfor %}", "\n"),
    ],
)
def test_the_end_of_turn_is_what_the_template_puts_behind_an_answer(tokenizer, template, expected):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<|im_start|>", "<|user|>", "<|end|>"]})
    tokenizer.chat_template = template
    with FakeTeacher(tokenizer=tokenizer) as teacher:
        found = ask(teacher, lambda client: end_of_turn(client, Spelling.BYTE_LEVEL, enable_thinking=False))
    assert tokenizer.decode([found]) == expected


def test_a_template_that_hides_answers_is_an_error(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{m.role}}{% endfor %}"
    with FakeTeacher(tokenizer=tokenizer) as teacher, pytest.raises(TeacherError, match="--teacher_tokenizer"):
        ask(teacher, lambda client: end_of_turn(client, Spelling.BYTE_LEVEL, enable_thinking=False))


def test_the_signature_is_that_of_the_weights_and_too_large_a_k_names_the_flag(tokenizer):
    def sign(teacher, top_k=5):
        return ask(teacher, lambda client: signatures([client], top_k, enable_thinking=False))[0]

    with FakeTeacher(tokenizer=tokenizer, max_logprobs=5) as teacher:
        one, again = sign(teacher), sign(teacher)
        assert np.array_equal(one, again) and len(one) == len(tokenizer.encode(ANSWER, add_special_tokens=False))
        with pytest.raises(TeacherError, match=r"`--max-logprobs 6`.*--teacher_top_k"):
            sign(teacher, 6)
    other = lambda ids, top_k: [{token: 0.0} for token in ids]  # noqa: E731
    with FakeTeacher(tokenizer=tokenizer, score=other) as teacher:
        assert not np.allclose(sign(teacher), one)


def test_a_replica_that_is_away_is_left_out_of_the_signatures_unless_all_are(tokenizer):
    with FakeTeacher(tokenizer=tokenizer) as gone:
        pass

    async def sign(*urls):
        clients = [TeacherClient(url, "glm-4.7", patience=0) for url in urls]
        for client in clients:
            await client.__aenter__()
        try:
            return await signatures(clients, 5, enable_thinking=False)
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)

    with FakeTeacher(tokenizer=tokenizer) as teacher:
        assert len(asyncio.run(sign(gone.url, teacher.url))) == 1
        assert len(asyncio.run(sign(teacher.url, teacher.url))) == 2
    with pytest.raises(TeacherError, match="gave up"):
        asyncio.run(sign(gone.url))
