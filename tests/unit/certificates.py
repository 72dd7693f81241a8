"""Certificates of days past, present and to come, made by openssl, and a teacher that has one."""

import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fake_teacher import FakeTeacher

AUTHORITY = """
[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
default_md = sha256
rand_serial = yes
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def certificate(folder: Path, names: str, *, first_day: float = -1, last_day: float = 30) -> tuple[Path, Path]:
    """The files of a key and of a certificate that it signed.

    Args:
        names: What it is made out to, as openssl has it: `IP:127.0.0.1`.
        first_day, last_day: When it is valid, in days from now.
    """
    days = [f"{datetime.now(UTC) + timedelta(days=day):%Y%m%d%H%M%SZ}" for day in (first_day, last_day)]
    (folder / "authority").write_text(AUTHORITY)
    (folder / "index").write_text("")
    asked = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=teacher"]
    shown = ["-addext", "basicConstraints=CA:TRUE", "-addext", f"subjectAltName={names}"]
    _openssl(folder, *asked, *shown, "-keyout", "key.pem", "-out", "request.pem")
    signed = ["ca", "-batch", "-selfsign", "-config", "authority", "-keyfile", "key.pem", "-in", "request.pem"]
    valid = ["-notext", "-startdate", days[0], "-enddate", days[1]]
    _openssl(folder, *signed, *valid, "-out", "certificate.pem")
    return folder / "key.pem", folder / "certificate.pem"


@contextlib.contextmanager
def over_tls(teacher: FakeTeacher, folder: Path, names: str, **days: float) -> Iterator[tuple[str, Path]]:
    """The teacher with a certificate of its own: its URL, and the certificate's file."""
    key, file = certificate(folder, names, **days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    with teacher:
        server: Any = teacher._server
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *args: None
        yield teacher.url.replace("http://", "https://"), file


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
