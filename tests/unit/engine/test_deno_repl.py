"""REPLs, on a real Deno."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from atoll.engine import Sandbox
from atoll.engine.deno_repl import BOOTSTRAP, MAX_REQUEST_BYTES, Repl
from atoll.engine.listening import wait_listening
from atoll.model.errors import InvalidSpec, ProcessNotFound, ScriptError, TooLarge
from atoll.model.process import SpawnSpec


@pytest.fixture
async def repl(guest: Sandbox, tmp_path: Path) -> AsyncIterator[Repl]:
    repl = await guest.deno.start_repl(cwd=str(tmp_path), script_args=["--one", "two"])
    yield repl
    await repl.close()


async def test_values(repl: Repl) -> None:
    expected: list[tuple[str, Any]] = [
        ("1 + 1", 2),
        ("'é\\u{1F600}'", "é\U0001f600"),
        ("'\\ud800'", "�"),
        ("({a: [1, null, {b: true}]})", {"a": [1, None, {"b": True}]}),
        ("{a: 1}", {"a": 1}),
        ("undefined", None),
        ("[undefined, () => 1, Symbol('x')]", [None, None, None]),
        ("({kept: 1, gone: undefined, too: () => 1})", {"kept": 1}),
        ("NaN", None),
        ("-0", 0),
        ("10n", 10),
        ("2n ** 70n", str(2**70)),
        ("new Map([['a', 1]])", [["a", 1]]),
        ("new Set([1, 2])", [1, 2]),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("new Date(NaN)", None),
        ("/a/g", "/a/g"),
        ("new Uint8Array([1, 2])", [1, 2]),
        ("new Uint8Array([3, 4]).buffer", [3, 4]),
        ("Promise.resolve(5)", 5),
        ("(async () => 6)()", 6),
        ("const loop = {a: 1}; loop.me = loop; loop", {"a": 1, "me": None}),
        ("({get a() { throw 1 }})", None),
        ("new Proxy({}, {ownKeys() { throw 1 }})", None),
        ("Object.create(null)", {}),
        ("[new Error('x')].map(({message}) => message)", ["x"]),
        ("Deno.args", ["--one", "two"]),
        ("let deep = 1; for (let i = 0; i < 5000; i++) deep = [deep]; Array.isArray(deep)", True),
        ("", None),
        ("// nothing", None),
    ]
    for code, value in expected:
        assert (code, await repl.eval(code)) == (code, value)
    assert isinstance(await repl.eval("deep"), list)


async def test_state_persists_and_can_be_declared_again(repl: Repl) -> None:
    for code in ("const a = 1", "let b = a + 1", "class C { x = 3 }", "function f(n) { return n * 2 }", "var v = 5"):
        assert await repl.eval(code) is None
    assert await repl.eval("[a, b, new C().x, f(4), v]") == [1, 2, 3, 8, 5]
    await repl.eval("const a = 10; class C { x = 30 }; let b = 20")
    assert await repl.eval("[a, b, new C().x]") == [10, 20, 30]
    await repl.eval("const later = await new Promise((resolve) => setTimeout(() => resolve(7), 5))")
    assert await repl.eval("later") == 7


async def test_typescript(repl: Repl) -> None:
    await repl.eval("interface P { x: number }; const p: P = {x: 1}; enum E { A = 4, B }")
    assert await repl.eval("[p.x as number, E.B, (<T,>(t: T): T => t)(3)]") == [1, 5, 3]


async def test_imports(repl: Repl, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.ts").write_text("export const x: number = 42; export default 'd'; import './n.ts'")
    (tmp_path / "sub" / "n.ts").write_text("globalThis.n = 1")
    assert await repl.eval("(await import('./sub/m.ts')).x") == 42
    code = "// first\nimport d, { x as y, default as e } from './sub/m.ts'; import * as m from './sub/m.ts'\n"
    code += "import 'node:os'\n"
    assert await repl.eval(
        code + 'import { type Stats, statSync } from "node:fs";\n[d, y, e, m.x, typeof statSync]'
    ) == [
        "d",
        42,
        "d",
        42,
        "function",
    ]
    assert await repl.eval("[y, d]") == [42, "d"]
    assert await repl.eval("'import x from \"y\"'") == 'import x from "y"'
    (tmp_path / "deno.json").write_text("{}")
    (tmp_path / "j.json").write_text('{"j": 1}')
    assert await repl.eval("import j from './j.json' with { type: 'json' }; j") == {"j": 1}
    await repl.eval("Deno.chdir('sub')")
    assert await repl.eval("(await import('./m.ts')).x") == 42


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("throw new TypeError('bad')", "TypeError", "bad"),
        ("await Promise.reject(new RangeError('r'))", "RangeError", "r"),
        ("Promise.reject(new Error('p'))", "Error", "p"),
        ("missing", "ReferenceError", "missing is not defined"),
        ("1 +", "SyntaxError", "Unexpected end of input"),
        ("throw 5", "Error", "5"),
        ("throw 'text'", "Error", "text"),
        ("throw null", "Error", "null"),
        ("Deno.readTextFileSync('/nowhere')", "NotFound", "No such file"),
        ("throw {message: {toString() { throw 1 }}}", "Error", "cannot be described"),
        ("'x'.repeat(9_000_000)", "RangeError", "over the limit"),
        ("new Uint8Array(1e9)", "RangeError", "over 2000000 values"),
        ("await import('./nowhere.ts')", "TypeError", "Module not found"),
    ],
)
async def test_errors(repl: Repl, code: str, name: str, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        await repl.eval(code)
    assert caught.value.name == name and message in caught.value.message
    assert "atoll:repl" not in caught.value.stack and "inspector" not in caught.value.stack
    assert await repl.eval("'goes on'") == "goes on"


async def test_a_stack_points_into_the_code(repl: Repl) -> None:
    with pytest.raises(ScriptError) as caught:
        await repl.eval("function inner() {\n  throw new Error('x')\n}\ninner()")
    lines = caught.value.stack.splitlines()
    assert lines == ["Error: x", "    at inner (<anonymous>:2:9)", "    at <anonymous>:4:1"]
    with pytest.raises(ScriptError) as caught:
        await repl.eval("  missing")
    assert caught.value.stack.endswith("at <anonymous>:1:3")


async def test_calls(repl: Repl) -> None:
    await repl.eval("const twice = (n) => n * 2; const o = {k: 3, get() { return this.k }}")
    assert await repl.call("twice", [4]) == 8
    assert await repl.call("(a, b) => a.x + b", [{"x": 1}, 2]) == 3
    assert await repl.call("async function (s: string) { return [s, arguments.length] }", ["é"]) == ["é", 1]
    with pytest.raises(ScriptError, match="TypeError: 5 is not a function"):
        await repl.call("5", [])
    with pytest.raises(ScriptError, match="Error: no"):
        await repl.call("() => { throw new Error('no') }", [])
    with pytest.raises(InvalidSpec, match="args"):
        await repl.call("twice", [object()])


async def test_output_is_the_programs_own(repl: Repl) -> None:
    assert repl.process.stdout is not None and repl.process.stderr is not None
    await repl.eval("console.log('{\"id\":1,\"value\":666}'); console.error('to stderr'); 1")
    await repl.eval("Deno.stdout.writeSync(new TextEncoder().encode('raw'))")
    await repl.close()
    assert await repl.process.stdout.read_all(1000) == b'{"id":1,"value":666}\nraw'
    assert await repl.process.stderr.read_all(1000) == b"to stderr\n"
    assert (await repl.process.wait()).code == 0


async def test_its_stdin_is_the_programs_own(guest: Sandbox, tmp_path: Path) -> None:
    repl = await guest.deno.start_repl(cwd=str(tmp_path), stdin=True, stdout=False, stderr=False)
    assert repl.process.stdin is not None and repl.process.stdout is None and repl.process.stderr is None
    await repl.process.stdin.write(b"hello")
    repl.process.stdin.close()
    assert await repl.eval("await new Response(Deno.stdin.readable).text()") == "hello"
    await repl.close()


async def test_what_is_thrown_later_does_not_end_it(repl: Repl) -> None:
    assert repl.process.stderr is not None
    await repl.eval("setTimeout(() => { throw new Error('late') }); Promise.reject(new Error('unheard')); 0")
    await repl.eval("await new Promise((resolve) => setTimeout(resolve, 20))")
    with pytest.raises(ScriptError):
        await repl.eval("Promise.reject(new Error('heard'))")
    await repl.close()
    output = (await repl.process.stderr.read_all(100_000) or b"").decode()
    assert "late" in output and "unheard" in output and "heard" not in output.replace("unheard", "")


async def test_many_at_once_wait_for_each_other(repl: Repl) -> None:
    await repl.eval("let busy = 0, most = 0")
    code = "most = Math.max(most, ++busy); await new Promise((resolve) => setTimeout(resolve, 1)); busy--; most"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(repl.eval(code)) for _ in range(30)]
    assert {task.result() for task in tasks} == {1}


async def test_an_evaluation_that_is_given_up(repl: Repl) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await repl.eval("await new Promise((resolve) => setTimeout(() => resolve('late'), 150))")
    assert await repl.eval("'mine'") == "mine"


async def test_large_code_and_results(repl: Repl) -> None:
    assert await repl.eval(f"'{'x' * 3_000_000}'.length") == 3_000_000
    assert await repl.eval("'y'.repeat(8_000_000)") == "y" * 8_000_000
    with pytest.raises(TooLarge):
        await repl.eval("x" * MAX_REQUEST_BYTES)
    assert await repl.eval("1") == 1


async def test_a_repl_that_exits(guest: Sandbox, repl: Repl) -> None:
    with pytest.raises(ScriptError, match="ended with status 3 before it answered"):
        await repl.eval("Deno.exit(3)")
    with pytest.raises(ProcessNotFound):
        await guest.deno.repl_eval(repl.process.pid, "1")
    with pytest.raises(ProcessNotFound):
        await repl.eval("1")


async def test_a_repl_that_is_busy_for_ever_can_be_closed(guest: Sandbox, repl: Repl) -> None:
    async def run() -> None:
        with pytest.raises(ScriptError, match="ended by SIGKILL"):
            await repl.eval("for (;;);")

    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        await asyncio.sleep(0.05)
        await guest.deno.repl_close(repl.process.pid)
    with pytest.raises(ProcessNotFound):
        await guest.deno.repl_close(repl.process.pid)


async def test_a_repl_that_waits_for_ever_is_closed_at_once(guest: Sandbox, repl: Repl) -> None:
    async def run() -> None:
        with pytest.raises(ScriptError, match="before it answered"):
            await repl.eval("await new Promise(() => {})")

    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        group.create_task(run())
        await asyncio.sleep(0.05)
        await guest.deno.repl_close(repl.process.pid)


async def test_code_that_takes_the_channel_over(guest: Sandbox, repl: Repl) -> None:
    with pytest.raises(ScriptError, match="took its connection over"):
        await repl.eval("JSON.stringify = () => '}{'; 1")


async def test_only_the_host_gets_in(guest: Sandbox, tmp_path: Path) -> None:
    argv = ("deno", "eval", "--ext=js", BOOTSTRAP.replace("TOKEN", "right"))
    repl = Repl(guest, await guest.spawn(SpawnSpec(argv, cwd=str(tmp_path))))
    port = await wait_listening(guest, repl.process)
    assert port is not None
    idle = await guest.connect_port(port)
    for greeting in (b'["wrong", "Deno.exit(9)"]\n', b"GET / HTTP/1.0\r\n\r\n", b""):
        source, sink = await guest.connect_port(port)
        await sink.write(greeting)
        sink.close()
        assert await source.read_all(100) == b""
    await repl.connect("right")
    assert await repl.eval("2") == 2
    assert await guest.listening_ports(repl.process.pid) == []
    idle[1].close()
    await repl.close()


async def test_starting_one_that_cannot_run(guest: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="ended with status"):
        await guest.deno.start_repl(
            cwd=str(tmp_path), env={"DENO_V8_FLAGS": "--no-such-flag", "DENO_DIR": "/dev/null/x"}
        )


async def test_what_is_both_javascript_and_typescript_is_typescript(repl: Repl) -> None:
    await repl.eval("function same(x) { return x }")
    assert await repl.eval("same<number>(3)") == 3
    assert await repl.eval("[1 < 2, 3 > 2]") == [True, True]


async def test_an_import_in_a_call(repl: Repl, tmp_path: Path) -> None:
    (tmp_path / "m.ts").write_text("export const x: number = 42")
    assert await repl.call("async () => (await import('./m.ts')).x", []) == 42
    with pytest.raises(ScriptError, match="SyntaxError"):
        await repl.eval("return 5")
