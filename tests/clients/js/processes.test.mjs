import assert from "node:assert/strict";
import test from "node:test";
import { bytes, pieces, poll, random, rejection, run, text, withSandbox } from "./common.mjs";

test("spawn: output, status, environment, working directory", () =>
  withSandbox({ env: { A_B: "from create" } }, async (sandbox, dir) => {
    const script = 'echo "$A_B $C"; pwd; echo problem >&2; exit 3';
    const done = await run(sandbox, "sh", ["-c", script], { env: { C: "from spawn" }, cwd: dir });
    assert.deepEqual(done.out.split("\n"), ["from create from spawn", dir, ""]);
    assert.equal(done.err, "problem\n");
    assert.deepEqual([done.success, done.code, done.signal, done.oom], [false, 3, null, false]);
  }));

test("spawn: clearEnv leaves only what is given", () =>
  withSandbox(async (sandbox) => {
    const done = await run(sandbox, "/usr/bin/env", [], { clearEnv: true, env: { ONLY: "this" } });
    assert.equal(done.out, "ONLY=this\n");
  }));

test("spawn: null output has no streams", () =>
  withSandbox(async (sandbox) => {
    const child = await sandbox.spawn("sh", { args: ["-c", "echo x; echo y >&2"], stdout: "null", stderr: "null" });
    assert.equal(child.stdout, null);
    assert.equal(child.stderr, null);
    assert.equal((await child.status).code, 0);
  }));

test("spawn: what does not exist", () =>
  withSandbox(async (sandbox) => {
    const error = await rejection(sandbox.spawn("no-such-program"));
    assert.equal(error.code, "ENOENT");
    assert.match(error.message, /no-such-program/);
    assert.equal((await rejection(sandbox.spawn("true", { cwd: "/no/such/dir" }))).code, "ENOENT");
  }));

test("spawn: NUL and an empty name are refused", () =>
  withSandbox(async (sandbox) => {
    assert.match((await rejection(sandbox.spawn("a\0b"))).message, /NUL/);
    assert.match((await rejection(sandbox.spawn(""))).message, /empty/);
  }));

test("sh", () =>
  withSandbox(async (sandbox, dir) => {
    assert.equal(await sandbox.sh`echo ${"a  b"} | tr a-z A-Z`.text(), "A  B\n");
    assert.deepEqual(await sandbox.sh`printf '{"a": [1, 2]}'`.json(), { a: [1, 2] });
    const failed = await rejection(sandbox.sh`exit 7`);
    assert.equal(failed.code, 7);
    assert.equal((await sandbox.sh`exit 7`.noThrow()).status.code, 7);
  }));

test("stdin: what is written arrives, and its end", () =>
  withSandbox(async (sandbox) => {
    const data = random(3_000_000);
    const child = await sandbox.spawn("cat", { stdin: "piped", stdout: "piped" });
    const reading = bytes(child.stdout);
    await pieces(data, 100_000).pipeTo(child.stdin);
    assert.deepEqual(await reading, data);
    assert.equal((await child.status).code, 0);
  }));

test("stdin: a process that does not read it", () =>
  withSandbox(async (sandbox) => {
    const child = await sandbox.spawn("sleep", { args: ["0.3"], stdin: "piped", stdout: "null" });
    const writer = child.stdin.getWriter();
    writer.write(random(2_000_000)).catch(() => {});
    assert.equal((await child.status).code, 0);
    await writer.abort("enough").catch(() => {});
    assert.equal((await run(sandbox, "echo", ["alive"])).out, "alive\n");
  }));

test("large output arrives whole", () =>
  withSandbox(async (sandbox) => {
    const child = await sandbox.spawn("head", { args: ["-c", "20000000", "/dev/zero"], stdout: "piped" });
    assert.equal((await bytes(child.stdout)).length, 20_000_000);
  }));

test("cancelled output ends its writer, and nothing crashes", () =>
  withSandbox(async (sandbox) => {
    for (let i = 0; i < 5; i++) {
      const child = await sandbox.spawn("yes", { stdout: "piped", stderr: "null" });
      const reader = child.stdout.getReader();
      await reader.read();
      await reader.cancel("enough");
      assert.equal((await child.status).signal, "SIGPIPE");
    }
    assert.equal((await run(sandbox, "echo", ["alive"])).out, "alive\n");
  }));

test("kill: signals, and a process that has ended", () =>
  withSandbox(async (sandbox) => {
    const child = await sandbox.spawn("sleep", { args: ["100"] });
    await child.kill();
    assert.deepEqual({ ...(await child.status) }, { success: false, code: 143, signal: "SIGTERM", oom: false });
    await child.kill(); // it has ended: no error
    const other = await sandbox.spawn("sleep", { args: ["100"] });
    await other.kill("SIGKILL");
    assert.deepEqual([(await other.status).code, (await other.status).signal], [137, "SIGKILL"]);
    const third = await sandbox.spawn("sleep", { args: ["100"] });
    assert.match((await rejection(third.kill("SIGBREAK"))).message, /SIGBREAK/);
    await third.kill();
  }));

test("an abort signal kills", () =>
  withSandbox(async (sandbox) => {
    const controller = new AbortController();
    const child = await sandbox.spawn("sleep", { args: ["100"], signal: controller.signal });
    controller.abort();
    assert.equal((await child.status).signal, "SIGTERM");
  }));

test("200 short commands in a row lose nothing", () =>
  withSandbox(async (sandbox) => {
    for (let i = 0; i < 200; i++) {
      const child = await sandbox.spawn("echo", { args: [`line ${i}`], stdout: "piped", stderr: "piped" });
      const [out, status] = await Promise.all([text(child.stdout), child.status]);
      assert.equal(out, `line ${i}\n`);
      assert.equal(status.code, 0);
    }
  }));

test("50 commands at once", () =>
  withSandbox(async (sandbox) => {
    const all = Array.from({ length: 50 }, (_, i) => run(sandbox, "sh", ["-c", `sleep 0.1; echo ${i}`]));
    (await Promise.all(all)).forEach((done, i) => assert.equal(done.out, `${i}\n`));
  }));

test("two sandboxes in one process do not mix their streams", async () => {
  await withSandbox((one) =>
    withSandbox(async (two) => {
      for (let round = 0; round < 20; round++) {
        const [a, b] = await Promise.all([
          run(one, "sh", ["-c", "seq 1 2000 | sed s/^/one/"]),
          run(two, "sh", ["-c", "seq 1 2000 | sed s/^/two/"]),
        ]);
        assert.ok(a.out.split("\n").slice(0, -1).every((line) => line.startsWith("one")));
        assert.ok(b.out.split("\n").slice(0, -1).every((line) => line.startsWith("two")));
        assert.equal(a.out.length, b.out.length);
      }
    }));
});

test("env", () =>
  withSandbox({ env: { FROM: "create" } }, async (sandbox) => {
    assert.equal(await sandbox.env.get("FROM"), "create");
    await sandbox.env.set("LATER", "on ü");
    assert.equal(await sandbox.env.get("LATER"), "on ü");
    assert.equal(await sandbox.sh`printf %s "$LATER"`.text(), "on ü");
    assert.equal((await sandbox.env.toObject()).LATER, "on ü");
    await sandbox.env.delete("LATER");
    assert.equal(await sandbox.env.get("LATER"), undefined);
    assert.match((await rejection(sandbox.env.set("A=B", "x"))).message, /environment variable/);
  }));

test("the output of a grandchild outlives the process", () =>
  withSandbox(async (sandbox) => {
    const child = await sandbox.spawn("sh", { args: ["-c", "(sleep 0.3; echo late) & echo early"], stdout: "piped" });
    assert.equal((await child.status).code, 0);
    assert.equal(await text(child.stdout), "early\nlate\n");
  }));

test("a process runs on after its client went away", () =>
  withSandbox({ timeout: "2m" }, async (sandbox, dir) => {
    const { Sandbox } = await import("./common.mjs");
    const other = await Sandbox.connect(sandbox.id);
    const script = `for i in $(seq 200); do echo line $i; done; sleep 0.2; seq 100000; echo end > ${dir}/done`;
    await other.spawn("sh", { args: ["-c", script], stdout: "piped" });
    await other.close();
    await poll(async () => (await sandbox.fs.readTextFile(`${dir}/done`).catch(() => "")) === "end\n");
    await sandbox.kill();
  }));
