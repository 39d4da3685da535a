from __future__ import annotations

import re
from pathlib import Path

import pytest

from atoll.model.errors import InvalidSpec
from atoll.store import Store, tokens


async def test_a_token_is_verified_by_its_text_alone(store: Store) -> None:
    text = await store.tokens.create("ci")
    await store.tokens.create("other")
    token = await store.tokens.verify(text)
    assert token is not None
    assert token.name == "ci"


async def test_the_text_has_the_form_that_the_clients_expect(store: Store) -> None:
    text = await store.tokens.create("ci")
    assert re.fullmatch(r"ddo_[A-Za-z0-9_-]{43}", text)
    assert await store.tokens.create("another") != text


@pytest.mark.parametrize("mangle", [lambda t: t[:-1], lambda t: t + "a", str.upper, lambda t: "", lambda t: "\ud800"])
async def test_any_other_text_is_no_token(store: Store, mangle: object) -> None:
    assert callable(mangle)
    text = await store.tokens.create("ci")
    assert await store.tokens.verify(mangle(text)) is None


async def test_the_files_hold_no_token_text(store: Store, path: Path) -> None:
    text = await store.tokens.create("ci")
    await store.tokens.verify(text)
    files = list(path.parent.iterdir())
    assert path in files
    for file in files:
        content = file.read_bytes()
        assert text.encode() not in content
        assert text.removeprefix("ddo_").encode() not in content


async def test_a_revoked_token_ends_at_once_and_keeps_its_name(store: Store) -> None:
    text = await store.tokens.create("ci")
    await store.tokens.revoke("ci")
    assert await store.tokens.verify(text) is None
    (record,) = await store.tokens.list()
    assert record.revoked_at_ms is not None
    with pytest.raises(InvalidSpec, match="had it"):
        await store.tokens.create("ci")


async def test_a_revocation_by_another_process_counts(store: Store, path: Path) -> None:
    text = await store.tokens.create("ci")
    async with Store(path) as command_line:
        await command_line.tokens.revoke("ci")
    assert await store.tokens.verify(text) is None


@pytest.mark.parametrize("name", ["gone", "", "\ud800", "' OR 1=1 --"])
async def test_revoking_what_is_not_there_is_an_error(store: Store, name: str) -> None:
    await store.tokens.create("ci")
    with pytest.raises(InvalidSpec, match="no live token"):
        await store.tokens.revoke(name)


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "a\n", "ü", "a" * 65, "a/b"])
async def test_a_name_that_would_not_read_well_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidSpec, match="name"):
        await store.tokens.create(name)


async def test_use_is_noted_to_the_minute(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000
    monkeypatch.setattr(tokens, "_now_ms", lambda: now)
    text = await store.tokens.create("ci")

    async def noted() -> int | None:
        await store.tokens.verify(text)
        return (await store.tokens.list())[0].last_used_at_ms

    assert await noted() == 1_000_000
    now += 59_999
    assert await noted() == 1_000_000
    now += 1
    assert await noted() == 1_060_000
