"""A server on loopback that answers as SGLang 0.5.23 does, by its source code: no real one was at hand."""

from typing import Any

from fake_teacher import FakeTeacher, Request, error

LAST = 511  # of the vocabulary; SGLang writes it as 0


class FakeSglang(FakeTeacher):
    """Scores by `/generate`; its OpenAI-like API ignores `prompt_logprobs`, and it has no `/version`."""

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        if request.path == "/model_info" and not self.faults:
            return 200, {"model_path": "/models/glm", "served_model_name": "glm-4.7", "is_generation": True}, {}
        if request.path in ("/version", "/get_model_info"):
            return 404, {"detail": "Not Found"}, {}
        if request.path == "/generate":
            return self.generate(request.body)
        return super().answer(request)

    def complete(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if body.get("top_k") == 0:
            return 400, error("top_k must be -1 (disable), or at least 1, got 0.", 400), {}
        return 200, {"choices": [{"index": 0, "text": "x", "logprobs": None}]}, {}

    def generate(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        ids, start = body["input_ids"], body["logprob_start_len"]
        rows = self.score(ids, body["top_logprobs_num"])[start:]
        named = body["return_text_in_logprobs"]

        def told(logp: float | None, token: int) -> list[Any]:
            return [logp, 0 if token == LAST else token, f"<0x{token:02X}>" if named else None]

        own = [told(row[token], token) for row, token in zip(rows, ids[start:], strict=True)]
        tops = [
            [told(row[token], token) for token in sorted(row, key=row.__getitem__)[::-1][: body["top_logprobs_num"]]]
            for row in rows
        ]
        own[0][0], tops[0] = None, None
        meta = {
            "id": "0",
            "finish_reason": {"type": "length", "length": 0},
            "prompt_tokens": len(ids),
            "completion_tokens": 0,
            "input_token_logprobs": own,
            "output_token_logprobs": [],
            "input_top_logprobs": tops,
            "output_top_logprobs": [],
        }
        return 200, {"text": "", "output_ids": [], "meta_info": meta}, {}

    def tokenize(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        status, answer, headers = super().tokenize(body)
        return status, {key: answer[key] for key in ("tokens", "count", "max_model_len")}, headers
