"""The composition root: start, the first token, one server per state directory, TLS, what a crash left."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest

from atoll.model.errors import HostError, InvalidSpec
from atoll.model.lifecycle import StopReason
from atoll.model.spec import SandboxSpec
from atoll.server import Ready
from atoll.store import Store
from tests.unit.api.conftest import running


async def status_of(url: str, token: str, tls: ssl.SSLContext | bool = True) -> int:
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {token}"}
        async with http.get(f"{url}/api/v2/sandboxes", headers=headers, ssl=tls) as response:
            return response.status


async def test_the_first_token_is_made_once(tmp_path: Path) -> None:
    async with running(tmp_path / "state", tmp_path) as (ready, _):
        token = ready.token
        assert token is not None and token.startswith("ddo_")
        assert await status_of(ready.url, token) == 200
    assert token.encode() not in b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("atoll.db*"))
    async with running(tmp_path / "state", tmp_path) as (ready, _):
        assert ready.token is None
        assert await status_of(ready.url, token) == 200


def test_the_ready_file(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    for token in ("ddo_x", None):
        Ready("http://127.0.0.1:1", token, "tcg").write(path)
        assert json.loads(path.read_text()) == {
            "url": "http://127.0.0.1:1",
            "token": token,
            "ssh": None,
            "accelerator": "tcg",
        }
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def test_one_server_per_state_directory(tmp_path: Path) -> None:
    async with running(tmp_path / "state", tmp_path):
        with pytest.RaisesGroup(pytest.RaisesExc(HostError, match="another server")):
            async with asyncio.TaskGroup() as group:
                from atoll.config import Config, ServerConfig
                from atoll.server import serve

                config = Config(server=ServerConfig(state_dir=tmp_path / "state"))
                group.create_task(serve(config, on_ready=lambda ready: None))


async def test_what_a_crash_left(tmp_path: Path) -> None:
    async with Store(tmp_path / "state" / "atoll.db") as store:
        await store.sandboxes.put_started("sbx_ord_00000000000000000000", SandboxSpec(), 1)
        await store.owned.add("vmm", "vmm-process", "999999999:5")
    async with running(tmp_path / "state", tmp_path):
        pass
    async with Store(tmp_path / "state" / "atoll.db") as store:
        record = await store.sandboxes.get("sbx_ord_00000000000000000000")
        assert record.stop_reason is StopReason.RECONCILED
        assert not await store.owned.list_all()


async def test_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=cert)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    async with running(tmp_path / "state", tmp_path, tls_cert=cert, tls_key=key) as (ready, _):
        assert ready.url.startswith("https://") and ready.token is not None
        assert await status_of(ready.url, ready.token, trusting) == 200
    cert.write_text("nonsense")
    with pytest.RaisesGroup(pytest.RaisesExc(InvalidSpec, match="tls_cert"), flatten_subgroups=True):
        async with asyncio.timeout(10), running(tmp_path / "state", tmp_path, tls_cert=cert, tls_key=key):
            pass
