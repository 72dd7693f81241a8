"""Where a server is, by which proxy it is reached, and the key it gets: what a user can get wrong of them."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from trainer.errors import UsageError

NO_KEY = "none"  # the SDK demands a key; a vLLM started without one ignores it


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL, as the SDK's own transport reads it."""
    parts, proxies = urlsplit(url), getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or proxy_bypass(parts.netloc):
        return None
    return found if "://" in found else f"http://{found}"


def is_http_url(text: str) -> bool:
    """Whether a text is the URL of a server, a port that makes sense included."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        return False


def header_safe(key: str) -> str:
    """`key` without surrounding whitespace (key files end in a newline); never shown in an error.

    Raises:
        UsageError: it holds what no header can.
    """
    stripped = key.strip()
    if not stripped.isascii() or not stripped.isprintable():
        raise UsageError(
            "the teacher's API key has line breaks or other characters that an HTTP header can't hold. "
            "Set SDFT_VLLM_SERVER_API_KEY (SDFT_API_KEY for `generate`) to the key alone."
        )
    return stripped or NO_KEY
