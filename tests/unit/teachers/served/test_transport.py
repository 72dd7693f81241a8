"""Requests on real connections: redirects, TLS, proxies, and what the user is told of their failures."""

import asyncio
import contextlib
import gzip
import json
import resource
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from certificates import over_tls
from fake_teacher import FakeTeacher, Fault, Request

from trainer.errors import TeacherError
from trainer.settings.server_url import read_urls
from trainer.teachers.served import transport as transport_module
from trainer.teachers.served.client import TeacherClient
from trainer.teachers.served.failures import RequestRefused, ServerRefused
from trainer.teachers.served.model_list import ServedModel

PATIENCE = 60.0  # a test that waits for it has failed
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def chat(url: str, patience: float = PATIENCE, **settings: Any) -> str:
    async def run() -> str:
        async with TeacherClient(read_urls(url), "glm-4.7", patience=patience, **settings) as client:
            said = await client.chat([{"role": "user", "content": "Hi"}], max_tokens=8, temperature=0.0, seed=1)
            return said.text

    return asyncio.run(run())


def failure(url: str, **settings: Any) -> TeacherError:
    """What a chat ends in, at once."""
    began = time.monotonic()
    with pytest.raises(TeacherError) as raised:
        chat(url, **settings)
    assert time.monotonic() - began < 10
    return raised.value


class Redirecting(FakeTeacher):
    """Sends every request to the same path of another server."""

    def __init__(self, target: str, status: int):
        super().__init__()
        self.target, self.status = target, status

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        return self.status, "moved", {"location": self.target + request.path}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_keeps_method_and_body_and_takes_no_key_to_another_server(status, capsys):
    with FakeTeacher(lambda body: "seven") as teacher, Redirecting(teacher.url, status) as first:
        assert chat(first.url, api_key="secret") == "seven"
    [asked] = teacher.requests
    assert (asked.method, asked.path, asked.authorization) == ("POST", "/v1/chat/completions", None)
    assert first.requests[0].authorization == "Bearer secret"
    said = f"the teacher at {first.url} redirects to {teacher.url}; pass that server's URL"
    assert said in capsys.readouterr().err


def test_a_redirect_in_a_circle_ends_at_once():
    with Redirecting("", 301) as teacher:
        told = str(failure(teacher.url))
    assert "POST /v1/chat/completions: 301, which leads to" in told and "/v1" in told


# ---- TLS


def test_an_unknown_certificate_ends_at_once_and_names_the_variable(tmp_path):
    with over_tls(FakeTeacher(), tmp_path, "IP:127.0.0.1") as (url, _):
        told = str(failure(url))
    assert "POST /v1/chat/completions: the certificate of" in told and "SSL_CERT_FILE" in told and "gave up" not in told


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_certificate_is_trusted_where_a_variable_names_it(variable, tmp_path, monkeypatch):
    with over_tls(FakeTeacher(lambda body: "seven"), tmp_path, "IP:127.0.0.1") as (url, certificate):
        monkeypatch.setenv(variable, str(certificate))
        assert chat(url) == "seven"


def test_a_certificate_of_another_name_is_told_apart(tmp_path, monkeypatch):
    with over_tls(FakeTeacher(), tmp_path, "DNS:teacher.example") as (url, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        told = str(failure(url))
    assert "Pass the URL with the name that the certificate is made out to" in told and "SSL_CERT_FILE=" not in told


@pytest.mark.parametrize("days", [{"first_day": -9, "last_day": -1}, {"first_day": 1, "last_day": 9}])
def test_a_certificate_that_is_not_valid_now_points_at_the_clock(days, tmp_path, monkeypatch):
    with over_tls(FakeTeacher(), tmp_path, "IP:127.0.0.1", **days) as (url, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        told = str(failure(url))
    assert "is not trusted: certificate " in told and "Look at this machine's clock (`date`)" in told
    assert "SSL_CERT_FILE=" not in told and "gave up" not in told


def test_tls_with_a_server_that_speaks_none_names_the_other_url():
    with FakeTeacher() as teacher:
        told = str(failure(teacher.url.replace("http://", "https://")))
    assert f"pass {teacher.url}." in told


# ---- no HTTP


@contextlib.contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """A server that answers whatever it is asked so, and hangs up."""

    class Saying(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Saying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "'SSH-2.0-OpenSSH_9.2'"),
        (b"-ERR unknown command 'POST'\r\n", "'-ERR unknown command"),
        (b"J\0\0\0\n8.0.33\0", r"'J\x00\x00\x00\n8.0.33"),
        (b"\0\0\x12\4\0\0\0\0\0", r"'\x00\x00\x12\x04"),
    ],
)
def test_a_server_that_speaks_no_http_is_told_at_once_by_what_it_says(answer, shown):
    with saying(answer) as url:
        told = str(failure(url))
    assert "POST /v1/chat/completions: no HTTP, but an answer that begins with " + shown in told
    assert f"A server of another kind has port {url.rpartition(':')[2]}." in told and "\n" not in told


@pytest.mark.parametrize("before", range(20, 60, 7))
def test_a_server_that_repeats_the_key_in_no_http_is_quoted_without_it(before):
    with saying(b"-ERR " + b"x" * before + b" Bearer sk-pl4nt3d-key-of-27-letters\r\n") as url:
        told = str(failure(url, api_key="sk-pl4nt3d-key-of-27-letters"))
    assert "no HTTP, but an answer that begins with '-ERR x" in told and "sk-pl" not in told


def test_a_server_that_speaks_tls_on_a_port_that_was_asked_without_names_the_other_url():
    with saying(b"\x15\x03\x01\0\2\2\x46") as url:
        told = str(failure(url))
    assert "If the server speaks TLS, pass its URL with https://." in told


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n{}", "Invalid header token at 'Bad Header'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", "Invalid character in chunk size at 'zz'"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "Bad status line at 'HTTP/1.1 abc OK'"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", "content-encoding: gzip"),
    ],
)
def test_http_that_is_none_in_places_is_tried_again_and_told_in_one_line(answer, shown):
    with saying(answer) as url:
        told = str(failure(url, patience=0.3))
    assert "an answer that is no valid HTTP: " in told and shown in told and "gave up" in told and "\n" not in told


# ---- proxies


class _Socks(socketserver.StreamRequestHandler):
    """As much of SOCKS 5 (RFC 1928, RFC 1929) as a client needs to reach a server on loopback."""

    def handle(self) -> None:
        _, count = self.rfile.read(2)
        wants_login = 2 in self.rfile.read(count)
        self.wfile.write(b"\x05\x02" if wants_login else b"\x05\x00")
        if wants_login:
            name = self.rfile.read(self.rfile.read(2)[1])
            password = self.rfile.read(self.rfile.read(1)[0])
            self.server.logins.append((name, password))
            self.wfile.write(b"\x01\x00")
        kind = self.rfile.read(4)[3]
        host = self.rfile.read(4) if kind == 1 else self.rfile.read(self.rfile.read(1)[0])
        port = int.from_bytes(self.rfile.read(2), "big")
        self.server.asked.append((host.decode() if kind == 3 else socket.inet_ntoa(host), port))
        self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
        with socket.create_connection(("127.0.0.1", port)) as there:
            threading.Thread(target=self._carry, args=(there,), daemon=True).start()
            while data := self.request.recv(65536):
                there.sendall(data)

    def _carry(self, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := there.recv(65536):
                self.request.sendall(data)


@contextlib.contextmanager
def socks_proxy() -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Socks) as server:
        server.daemon_threads = True
        server.asked, server.logins = [], []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
def test_a_socks_proxy_carries_requests_and_looks_up_names(scheme, monkeypatch):
    pytest.importorskip("aiohttp_socks")
    with FakeTeacher(lambda body: "seven") as teacher, socks_proxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://eve:pw@127.0.0.1:{proxy.server_address[1]}")
        port = int(teacher.url.rpartition(":")[2])
        assert chat(f"http://teacher.invalid:{port}") == "seven"
    assert proxy.asked == [("teacher.invalid", port)] and proxy.logins == [(b"eve", b"pw")]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "localhost,127.0.0.1"])
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:9"])
def test_no_proxy_lets_a_server_be_reached_past_a_dead_proxy(proxy, no_proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with FakeTeacher(lambda body: "seven") as teacher:
        assert chat(teacher.url) == "seven"


@pytest.mark.parametrize("proxy", ["socks5://eve:pl4nted@127.0.0.1:9", "http://eve:pl4nted@127.0.0.1:9"])
def test_a_dead_proxy_is_not_waited_for_and_named_with_the_way_past_it(proxy, monkeypatch):
    if proxy.startswith("socks"):
        pytest.importorskip("aiohttp_socks")
    monkeypatch.setenv("ALL_PROXY", proxy)
    told = str(failure("http://127.0.0.1:8000"))
    assert "127.0.0.1:9 (ALL_PROXY): the proxy gives no connection" in told and "NO_PROXY=127.0.0.1." in told
    assert "pl4nted" not in told and "docker compose" not in told


def test_a_proxy_that_wants_a_login_is_not_taken_for_the_server(monkeypatch):
    with FakeTeacher() as proxy:
        proxy.faults = [Fault(407, "Proxy Authentication Required")]
        monkeypatch.setenv("http_proxy", proxy.url)
        told = str(failure("http://teacher.invalid:8000"))
    assert "407" in told and "http_proxy=http://NAME:PASSWORD@HOST:PORT" in told


# ---- advice by cause


PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
QUOTA = {"error": {"message": "You exceeded your current quota, check billing.", "code": "insufficient_quota"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "found", "advice"),
    [
        (404, "404 page not found", ServerRefused, "POST /v1/chat/completions: 404 404 page not found", "before /v1"),
        (405, {"detail": "Method Not Allowed"}, ServerRefused, "405 Method Not Allowed", "before /v1"),
        (402, {"error": "Insufficient Balance"}, ServerRefused, "402 Insufficient Balance", "Top it up"),
        (429, QUOTA, ServerRefused, "429 You exceeded your current quota", "Top it up"),
        (413, PAGE, RequestRefused, "413 the web page 'Sign in'", "client_max_body_size"),
        (200, PAGE, TeacherError, "200 with the web page 'Sign in', expected JSON", "no API"),
        (501, "no", ServerRefused, "501 no", "before /v1"),
        (303, "", TeacherError, "303, which leads to no place and no answer", "before /v1"),
        (
            200,
            {"error": {"message": "Wrong", "code": "invalid_api_key"}},
            ServerRefused,
            "refused the key",
            "SDFT_API_KEY",
        ),
        (200, {"error": {"message": "No", "type": "insufficient_quota"}}, ServerRefused, "402 No", "Top it up"),
        (403, {"error": "forbidden"}, ServerRefused, "refused the key (POST /v1/chat/completions: 403", "SDFT_API_KEY"),
    ],
)
def test_what_no_waiting_heals_ends_at_once_and_says_why(status, body, kind, found, advice):
    with FakeTeacher(lambda request: Fault(status, body)) as teacher:
        error = failure(teacher.url)
    assert type(error) is kind
    assert found in str(error) and advice in str(error) and "gave up" not in str(error)


def test_a_redirect_to_what_is_no_url_is_told():
    with FakeTeacher(lambda request: Fault(302, "", {"Location": "http://[bad/"})) as teacher:
        assert "302, which leads to http://[bad/ and no answer" in str(failure(teacher.url))


@pytest.mark.parametrize(
    "answer",
    [{"choices": None, "note": "key sk-secret-0123456789 is wrong"}, {"headers": "x" * 150 + " sk-secret-0123456789"}],
)
def test_a_key_that_an_answer_of_another_kind_repeats_is_not_shown(answer):
    with FakeTeacher(lambda request: Fault(200, answer)) as teacher:
        told = str(failure(teacher.url, api_key="sk-secret-0123456789"))
    assert "expected a chat completion" in told and "sk-se" not in told


def test_an_answer_that_is_packed_as_nobody_asked_is_not_waited_for():
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd"
    with saying(answer) as url:
        told = str(failure(url))
    assert "packed in a way that was not asked for (brotli" in told and "gave up" not in told


def test_a_mark_of_the_byte_order_before_the_json_is_no_part_of_it():
    body = b"\xef\xbb\xbf" + json.dumps({"choices": [{"message": {"content": "seven"}}]}).encode()
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as url:
        assert chat(url) == "seven"


def test_a_rate_limit_that_calls_itself_a_quota_is_waited_for():
    words = "You exceeded your current quota, please check billing. Please retry in 45.1s."
    with FakeTeacher(lambda body: "seven") as teacher:
        teacher.faults = [Fault(429, {"error": {"message": words}})]
        assert chat(teacher.url) == "seven"


def test_a_name_that_nobody_knows_is_not_waited_for():
    told = str(failure("http://nobody.invalid:8000"))
    assert "the name of nobody.invalid is not known" in told and "getent hosts nobody.invalid" in told


def test_a_server_that_slams_the_door_may_speak_tls():
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        told = str(failure(f"http://127.0.0.1:{server.server_address[1]}", patience=0))
        server.shutdown()
    assert "pass its URL with https://" in told


def test_a_refusal_that_repeats_the_key_is_shown_without_it():
    with FakeTeacher(lambda body: Fault(401, "Incorrect API key provided: sk-pl4nted")) as teacher:
        told = str(failure(teacher.url, api_key="sk-pl4nted"))
    assert "Incorrect API key provided: ***" in told


# ---- servers that have less


class Bare(FakeTeacher):
    """Only what is named of a server; its API begins at `root`."""

    def __init__(self, *paths: str, models: Any = None, root: str = "/v1", **settings: Any):
        super().__init__(lambda body: "seven", **settings)
        self.paths, self.listed, self.root = [root + path for path in paths], models, root

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        if request.path not in self.paths:
            return 404, "404 page not found", {}
        if self.listed is not None and request.path.endswith("/models"):
            return 200, self.listed, {}
        return super().answer(Request(request.method, request.path.replace(self.root, "/v1", 1), None, request.body))


def look(url: str) -> tuple[Any, ...]:
    async def run() -> tuple[Any, ...]:
        async with TeacherClient(read_urls(url), "glm-4.7", patience=PATIENCE) as client:
            return await client.health(), await client.version(), await client.models()

    return asyncio.run(run())


def test_a_server_may_lack_everything_but_chat():
    with Bare("/chat/completions") as teacher:
        assert look(teacher.url) == (False, None, None)
        assert chat(teacher.url) == "seven"


@pytest.mark.parametrize("given", ["/api/paas/v4", "/api/paas/v4/chat/completions"])
@pytest.mark.parametrize("root", ["/api/paas/v4", "/api/paas/v4/v1"])
def test_an_api_with_a_version_of_its_own_is_found(given, root):
    with Bare("/chat/completions", root=root) as teacher:
        assert chat(teacher.url + given) == "seven"


def test_an_api_without_a_version_is_found_and_looked_for_once():
    async def twice(url: str) -> None:
        async with TeacherClient(read_urls(url), "glm-4.7") as client:
            for _ in range(2):
                await client.chat([{"role": "user", "content": "Hi"}], max_tokens=8, temperature=0.0, seed=1)

    with Bare("/chat/completions", root="/serving-endpoints") as teacher:
        asyncio.run(twice(teacher.url + "/serving-endpoints"))
    endpoint = "/serving-endpoints/chat/completions"
    assert [request.path for request in teacher.requests] == [
        "/serving-endpoints/v1/chat/completions",
        endpoint,
        endpoint,
    ]


@pytest.mark.parametrize(
    ("listed", "window"),
    [
        ({"data": [{"id": "glm-4.7"}]}, None),
        ({"data": [{"id": "glm-4.7", "max_model_len": None}]}, None),
        ({"data": [{"id": "glm-4.7", "parent": "b"}, {"id": "b", "max_model_len": 512}]}, 512),
        ({"data": [{"id": "glm-4.7", "parent": "b", "max_model_len": 256}, {"id": "b", "max_model_len": 512}]}, 256),
        ({"data": [{"id": "glm-4.7", "context_length": 1024}]}, 1024),
        ([{"id": "glm-4.7", "context_window": 2048}], 2048),
        ({"data": [{"id": "glm-4.7", "max_model_len": "many"}]}, None),
        ({"data": [{"id": "glm-4.7", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}]}, 2048),
        ({"data": [{"id": "glm-4.7", "meta": None}]}, None),
    ],
)
def test_the_context_is_read_where_a_server_tells_it_and_a_loras_is_its_parents(listed, window):
    with Bare("/models", models=listed) as teacher:
        models = look(teacher.url)[2]
    assert models[0] == ServedModel("glm-4.7", window)


@pytest.mark.parametrize("listed", [None, []])
def test_a_server_that_has_loaded_nothing_has_no_list_and_is_asked_by_the_name(listed):
    with Bare("/models", models={"object": "list", "data": listed}) as teacher:
        assert look(teacher.url)[2] is None


@pytest.mark.parametrize(
    "answer",
    [
        {"data": ["glm-4.7", "other"]},
        ["glm-4.7", "other"],
        {"models": [{"name": "glm-4.7", "model": "glm-4.7"}, {"name": "other"}]},
        [{"id": "glm-4.7"}, {"id": "other"}],
    ],
    ids=["names", "bare names", "Ollama's", "bare"],
)
def test_a_list_of_models_is_read_in_any_usual_form(answer):
    with Bare("/models", models=answer) as teacher:
        assert [model.name for model in look(teacher.url)[2]] == ["glm-4.7", "other"]


# ---- answers that are more than an answer


@contextlib.contextmanager
def sending(pieces: Callable[[], Iterator[bytes]], **headers: str) -> Iterator[str]:
    """The URL of a server that answers everything with these pieces, and with the headers, `_` for `-`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            with contextlib.suppress(OSError):
                for piece in pieces():
                    self.wfile.write(piece)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def grown(work: Callable[[], Any]) -> int:
    """Bytes by which the process's peak of memory grows meanwhile."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10


def gigabyte() -> Iterator[bytes]:
    yield from (b" " * 2**20 for _ in range(2**10))


def bomb() -> Iterator[bytes]:
    yield gzip.compress(bytes(2**28))


@pytest.mark.parametrize(
    ("pieces", "headers"), [(gigabyte, {}), (bomb, {"content_encoding": "gzip"})], ids=["a gigabyte", "a bomb"]
)
def test_of_an_answer_that_is_too_long_no_more_is_read_or_kept(pieces, headers):
    def ask() -> None:
        assert "an answer of more than 16 MiB, which none to this request needs" in str(failure(url, patience=0))

    with sending(pieces, **headers) as url:
        assert grown(ask) < 150 * 2**20


def test_an_answer_that_comes_byte_by_byte_is_given_up(monkeypatch):
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b" "

    monkeypatch.setattr(transport_module, "ANSWER_SECONDS", 0.5)
    began = time.monotonic()
    with sending(drip) as url:
        assert "no answer in time" in str(failure(url, patience=0))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "body", [b"[" * 10**5 + b"]" * 10**5, b'{"choices":' * 10**5, b'{"choices": [{"message": "\xff']
)
def test_json_that_is_too_deep_or_no_text_is_a_broken_answer(body):
    with sending(lambda: iter([body])) as url:
        assert "expected a chat completion" in (told := str(failure(url, patience=0))) or "no whole JSON" in told


def test_a_refusal_in_json_that_is_too_deep_is_a_refusal():
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(400, "[" * 10**5)]
        assert failure(teacher.url).status == 400  # pyright: ignore
