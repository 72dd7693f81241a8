"""What users paste as a server's URL, and what of it may be shown."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import UsageError
from trainer.settings.server_url import ServerUrl, is_secret_name, read_urls, without_secrets


@pytest.mark.parametrize(
    ("pasted", "base"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("HTTP://host/v1/chat/completions", "http://host"),
        ("https://host/v1/models", "https://host"),
        ("http://host:8000/health", "http://host:8000"),
        ("https://open.example/api/paas/v4/", "https://open.example/api/paas/v4"),
        ("https://open.example/api/paas/v4/chat/completions", "https://open.example/api/paas/v4"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("https://host/compatible-mode/v1", "https://host/compatible-mode"),
        ("https://host/v2/v1/", "https://host/v2/v1"),
        ("https://api.example/chat/completions", "https://api.example/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://host/docs#/default", "http://host/docs"),
        ("ann:pw@host:1", "http://host:1"),
        ("http://ann:p@w@host/v1?api_key=x", "http://host"),
        ("http://host?api_key=x", "http://host"),
    ],
)
def test_a_pasted_url_is_read_as_the_base_and_shown_without_its_secrets(pasted, base):
    url = read_urls(pasted)
    assert url == base
    assert read_urls(url.full).full == url.full and read_urls(url) == url


def test_the_secrets_stay_with_whoever_connects_and_go_into_no_text():
    url = read_urls("http://a:1,http://ann:s3cret@b:2/v1?api_key=abc")
    assert url.full == "http://a:1,http://ann:s3cret@b:2?api_key=abc"
    assert [each.full for each in url.servers] == ["http://a:1", "http://ann:s3cret@b:2?api_key=abc"]
    for text in (str(url), repr(url), f"{url}", json.dumps([url]), url + "", ",".join(url.servers)):
        assert "s3cret" not in text and "abc" not in text and "ann" not in text
    assert copy.deepcopy(url).full == pickle.loads(pickle.dumps(url)).full == url.full


@pytest.mark.parametrize(
    "pasted",
    [
        "http://ann:pl4nt/ed@host",
        "http://ann:12/pl4nt@host:1",
        "http://ann:12?pl4nt@host",
        "http://ann:12,pl4nt@host",
        "http://ann:12 3/pl4nt@host",
    ],
)
def test_a_password_that_ends_the_host_too_early_is_refused_without_being_shown(pasted):
    with pytest.raises(UsageError, match="write / as %2F") as raised:
        read_urls(pasted)
    assert "pl4nt" not in str(raised.value) and "12" not in str(raised.value)


@given(st.text(st.characters(exclude_characters=",/?#@ \t\n\r", min_codepoint=33, max_codepoint=300), min_size=1))
def test_whatever_a_password_is_it_stays_out_of_the_shown_url(password):
    url = read_urls(f"http://ann:{password}@host:8000/v1")
    assert url == "http://host:8000" and url.full == f"http://ann:{password}@host:8000"


def test_urls_in_messages_lose_logins_and_keys_and_keep_the_rest():
    said = "found 'http://ann:p@w@h:1/v1?a=1&api_key=xyz&b=2', expected http://NAME:PASSWORD@HOST:PORT at http://h:1/"
    expected = "found 'http://***@h:1/v1?a=1&api_key=***&b=2', expected http://NAME:PASSWORD@HOST:PORT at http://h:1/"
    assert without_secrets(said) == expected
    assert [
        name for name in ("hub_token", "token_count", "wandb_api_key", "seed", "password") if is_secret_name(name)
    ] == [
        "hub_token",
        "wandb_api_key",
        "password",
    ]


def test_several_servers_are_shown_with_commas_and_one_alone_is_itself():
    assert ServerUrl("http://a,http://b").servers == ["http://a", "http://b"]
