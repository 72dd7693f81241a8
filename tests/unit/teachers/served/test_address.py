"""How a server is reached, as the URL, the key and the environment say."""

import base64

import pytest

from trainer.errors import UsageError
from trainer.settings.server_url import ServerUrl, read_urls
from trainer.teachers.served.address import Address, addresses_of, is_bypassed, proxy_of, tls_context


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def address(pasted: str, key: str | None = None) -> Address:
    return Address(read_urls(pasted), key)


@pytest.mark.parametrize(
    ("pasted", "chat", "other_chat", "health"),
    [
        ("http://h:1", "/v1/chat/completions", "/chat/completions", "/health"),
        ("http://h/api", "/api/v1/chat/completions", "/api/chat/completions", "/api/health"),
        (
            "http://h/api/paas/v4",
            "/api/paas/v4/chat/completions",
            "/api/paas/v4/v1/chat/completions",
            "/api/paas/health",
        ),
        ("http://h/v1beta/openai", "/v1beta/openai/chat/completions", "/v1beta/openai/v1/chat/completions", "/health"),
        ("http://h/x/chat/completions", "/x/chat/completions", "/x/v1/chat/completions", "/x/health"),
    ],
)
def test_the_api_is_where_the_url_says(pasted, chat, other_chat, health):
    found = address(pasted)
    assert found.path("/v1/chat/completions") == chat
    assert found.path("/v1/chat/completions", elsewhere=True) == other_chat
    assert found.path("/health") == health


def test_login_key_and_query_go_with_every_request_and_into_no_repr():
    found = address("http://ann%40x:s%2Fcret@h:1/v1?api-version=2024")
    assert found.target("/v1/models") == "http://h:1/v1/models?api-version=2024"
    assert found.headers == {"Authorization": "Basic " + base64.b64encode(b"ann@x:s/cret").decode()}
    assert address("http://h", "key\n").headers == {"Authorization": "Bearer key"} and address("http://h").headers == {}
    assert "cret" not in repr(found) and "sk-1" not in repr(address("http://h", "sk-1"))


def test_a_login_and_a_key_are_one_too_many():
    with pytest.raises(UsageError, match="one Authorization header"):
        address("http://ann:pw@h", "key")


def test_each_replica_keeps_its_own_login():
    found = addresses_of(read_urls("http://a,http://ann:pw@b"), None)
    assert [bool(each.headers) for each in found.values()] == [False, True] and [*found] == ["http://a", "http://b"]


@pytest.mark.parametrize(
    ("host", "no_proxy", "bypassed"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "192.168.0.0/16, 10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("fd00::1", "fd00::/8", True),
        ("gpu.lab.example", "*.lab.example", True),
        ("gpu.lab.example", ".lab.example", True),
        ("lab.example.org", "lab.example", False),
        ("teacher", "*", True),
        ("teacher", "", False),
        ("teacher", "10.0.0.0/33,[x", False),
    ],
)
def test_no_proxy_is_read_as_names_suffixes_addresses_and_networks(host, no_proxy, bypassed, monkeypatch):
    monkeypatch.setenv("no_proxy", no_proxy)
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert is_bypassed(host, host, no_proxy) is bypassed
    url = f"http://[{host}]:8000" if ":" in host else f"http://{host}:8000"
    assert (proxy_of(ServerUrl(url)) is None) is bypassed


@pytest.mark.parametrize(
    ("variable", "value", "shown", "is_socks"),
    [
        ("HTTP_PROXY", "http://eve:pw@proxy:3128", "http://proxy:3128 (HTTP_PROXY)", False),
        ("http_proxy", "proxy:3128", "http://proxy:3128 (http_proxy)", False),
        ("ALL_PROXY", "socks5h://proxy:1080", "socks5h://proxy:1080 (ALL_PROXY)", True),
        ("all_proxy", "socks://127.0.0.1:7897/", "socks://127.0.0.1:7897 (all_proxy)", True),
    ],
)
def test_the_proxy_is_shown_with_its_variable_and_without_its_login(variable, value, shown, is_socks, monkeypatch):
    monkeypatch.setenv(variable, value)
    found = address("http://h").proxy
    assert found is not None and (str(found), found.is_socks) == (shown, is_socks)
    assert "pw" not in repr(found)


@pytest.mark.parametrize("value", ["ftp://eve:pw@proxy:1", "http://", "http://eve:pw@proxy:x"])
def test_a_proxy_that_is_none_is_refused_with_its_variable(value, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(UsageError, match=r"HTTP_PROXY names the proxy .*NO_PROXY=h\.") as raised:
        address("http://h:1")
    assert "pw" not in str(raised.value)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_file_that_is_none_is_refused_with_its_variable(variable, content, tmp_path, monkeypatch):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(UsageError, match=f"{variable} names {file}.*PEM"):
        tls_context()


@pytest.mark.parametrize("url", [f"http://{'x' * 300}:8000", "http://.", "http://[::"])
def test_a_name_that_no_host_can_have_is_refused_before_anything_is_asked(url):
    with pytest.raises(UsageError, match="the teacher's base URL is"):
        Address(ServerUrl(url))


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://an@n:p:w/1@127.0.0.1:8000", "/ is written %2F, @ is %40 and : is %3A"),
        ("http://127.0.0.1:99999", "ports end at 65535"),
        ('"http://127.0.0.1:8000"', "without quotation marks"),
    ],
)
def test_what_people_type_in_place_of_a_url_is_told_with_what_is_wrong(url, hint):
    with pytest.raises(UsageError) as raised:
        Address(ServerUrl(url))
    assert hint in str(raised.value) and "p:w" not in str(raised.value)


@pytest.mark.parametrize("typed", ["http//localhost:8000", "https/localhost", "http:/localhost:8000/v1", "http:h:8000"])
def test_a_url_without_its_whole_separator_is_no_host_named_http(typed):
    with pytest.raises(UsageError, match="with :// behind http"):
        Address(read_urls(typed))


def test_a_proxy_that_is_half_an_address_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://[::")
    with pytest.raises(UsageError, match="http_proxy names the proxy"):
        proxy_of(ServerUrl("http://teacher:8000"))
