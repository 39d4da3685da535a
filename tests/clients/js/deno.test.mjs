import assert from "node:assert/strict";
import test from "node:test";
import { rejection, text, withSandbox } from "./common.mjs";

test("run code and files", () =>
  withSandbox(async ({ deno, fs }, dir) => {
    const child = await deno.run({ code: "const x: number = 6; console.log(x * 7, Deno.args[0])", scriptArgs: ["arg"],
      stdout: "piped" });
    assert.equal(await text(child.stdout), "42 arg\n");
    assert.equal((await child.status).code, 0);
    await fs.writeTextFile(`${dir}/main.ts`, 'console.log(await Deno.readTextFile("in.txt"));');
    await fs.writeTextFile(`${dir}/in.txt`, "from a file");
    const file = await deno.run({ entrypoint: "main.ts", cwd: dir, stdout: "piped" });
    assert.equal(await text(file.stdout), "from a file\n");
  }));

test("eval and REPL", () =>
  withSandbox(async ({ deno }) => {
    assert.equal(await deno.eval("1 + 1"), 2);
    const repl = await deno.repl({ stdout: "piped", stderr: "null" });
    await repl.eval("const a = { fooBar: [1, null, 'x'] }; function twice(n) { return 2 * n }");
    assert.deepEqual(await repl.eval("a"), { fooBar: [1, null, "x"] });
    assert.equal(await repl.eval("await Promise.resolve(5)"), 5);
    assert.equal(await repl.call("twice", 21), 42);
    assert.equal(await repl.call("(x, y) => x + y", "a", "b"), "ab");
    const error = await rejection(repl.eval("throw new TypeError('bad')"));
    assert.ok(error instanceof TypeError);
    assert.equal(error.message, "bad");
    await repl.eval("console.log('said')");
    await repl.close();
    assert.equal(await text(repl.stdout), "said\n");
  }));

test("an HTTP server, and fetch to it", () =>
  withSandbox(async (sandbox) => {
    const server = await sandbox.deno.run({
      code: `Deno.serve({ port: 0, onListen() {} }, async (request) => {
        const path = new URL(request.url).pathname;
        if (path === "/none") return new Response(null, { status: 204 });
        const headers = [["x-path", path], ["set-cookie", "a=1"], ["set-cookie", "b=2"]];
        return new Response(request.method + " " + await request.text(), { headers });
      })`,
    });
    assert.equal(await server.httpReady, true);
    const plain = await server.fetch("http://anything.test/hello?x=1");
    assert.equal(plain.status, 200);
    assert.equal(await plain.text(), "GET ");
    assert.equal(plain.headers.get("x-path"), "/hello");
    assert.deepEqual(plain.headers.getSetCookie(), ["a=1", "b=2"]);
    const posted = await server.fetch("http://anything.test/", { method: "POST", body: "some text" });
    assert.equal(await posted.text(), "POST some text");
    assert.equal((await server.fetch("http://anything.test/none")).status, 204);
    const streamed = await server.fetch("http://anything.test/", {
      method: "PUT",
      body: "a".repeat(100_000),
    });
    assert.equal((await streamed.text()).length, 100_004);
    await server.kill();
  }));

test("a script without a server", () =>
  withSandbox(async ({ deno }) => {
    const child = await deno.run({ code: "console.log(1)", stdout: "null" });
    assert.equal(await child.httpReady, false);
  }));

test("watch", () =>
  withSandbox(async ({ deno, fs }, dir) => {
    await fs.writeTextFile(`${dir}/main.ts`, "console.log('one'); setInterval(() => {}, 1000)");
    const child = await deno.run({ entrypoint: `${dir}/main.ts`, watch: true, stdout: "piped", stderr: "null" });
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assert.match((await reader.read()).value, /one/);
    const restarted = new Promise((done) => child.addEventListener("restart", done));
    // Deno begins to watch after the program's first words, so that one early change could pass unseen.
    const change = () => fs.writeTextFile(`${dir}/main.ts`, "console.log('two'); setInterval(() => {}, 1000)");
    const changing = setInterval(change, 1000);
    await change();
    assert.match((await reader.read()).value, /two/);
    clearInterval(changing);
    await restarted;
    await child.kill();
    await child.status;
  }));
