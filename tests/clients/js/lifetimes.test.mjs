import assert from "node:assert/strict";
import test from "node:test";
import { Client, Sandbox, endpoint, poll, rejection, sdk, text, token, withSandbox } from "./common.mjs";

const list = (labels) => new Client().sandboxes.list({ labels });
const only = async (labels) => {
  const found = [];
  for await (const item of await list(labels)) found.push(item);
  return found;
};

test("a session ends with its first connection", async () => {
  const labels = { test: `session-${Date.now()}` };
  const sandbox = await Sandbox.create({ labels });
  const other = await Sandbox.connect(sandbox.id);
  const closed = other.closed;
  await sandbox.close();
  await closed;
  const [record] = await poll(async () => {
    const found = await only(labels);
    return found[0]?.status === "stopped" && found;
  });
  assert.equal(record.id, sandbox.id);
  assert.ok(new Date(record.stoppedAt) >= new Date(record.createdAt));
  await rejection(Sandbox.connect(sandbox.id));
});

test("a second connection sees the same sandbox, and its end changes nothing", () =>
  withSandbox(async (sandbox, dir) => {
    const other = await Sandbox.connect({ id: sandbox.id });
    assert.equal(other.id, sandbox.id);
    await sandbox.fs.writeTextFile(`${dir}/shared`, "yes");
    await sandbox.env.set("SHARED", "too");
    assert.equal(await other.fs.readTextFile(`${dir}/shared`), "yes");
    assert.equal(await other.env.get("SHARED"), "too");
    await other.close();
    assert.equal(await sandbox.sh`echo alive`.text(), "alive\n");
  }));

test("a duration outlives its connections", async () => {
  const sandbox = await Sandbox.create({ timeout: "60s" });
  await sandbox.close();
  const again = await Sandbox.connect(sandbox.id);
  assert.equal(await again.sh`echo alive`.text(), "alive\n");
  await again.kill();
  await rejection(Sandbox.connect(sandbox.id));
});

test("a deadline ends it with clients attached, and everything is answered", async () => {
  const sandbox = await Sandbox.create({ timeout: "2s" });
  const child = await sandbox.spawn("sleep", { args: ["100"], stdout: "piped" });
  const [status, out] = await Promise.all([child.status, text(child.stdout)]);
  assert.deepEqual([status.code, status.signal, out], [137, "SIGKILL", ""]);
  await sandbox.closed;
  const error = await rejection(sandbox.fs.stat("/"));
  assert.ok(error instanceof sdk.ConnectionClosedError);
});

test("extendTimeout", async () => {
  const sandbox = await Sandbox.create({ timeout: "2s" });
  const until = await sandbox.extendTimeout("5m");
  assert.ok(Math.abs(until.getTime() - Date.now() - 300_000) < 5_000);
  assert.ok((await sandbox.extendTimeout("50m")).getTime() - Date.now() < 31 * 60_000);
  await new Promise((done) => setTimeout(done, 2_500));
  assert.equal(await sandbox.sh`echo alive`.text(), "alive\n");
  await sandbox.kill();
  await rejection(sandbox.extendTimeout("5m"));
});

test("kill answers what is under way, then closes", async () => {
  const sandbox = await Sandbox.create();
  const child = await sandbox.spawn("sleep", { args: ["100"] });
  const [status] = await Promise.all([child.status, sandbox.kill()]);
  assert.deepEqual([status.code, status.signal], [137, "SIGKILL"]);
});

test("labels", async () => {
  const mark = `l-${Date.now()}`;
  await withSandbox({ labels: { mark, "k [1]=&": "v,;ü'" } }, async (one) => {
    await withSandbox({ labels: { mark } }, async (two) => {
      assert.deepEqual((await only({ mark })).map((s) => s.id), [two.id, one.id]);
      const [found] = await only({ mark, "k [1]=&": "v,;ü'" });
      assert.deepEqual([found.id, found.status, found.stoppedAt, found.region, found.labels],
        [one.id, "running", null, "ord", { mark, "k [1]=&": "v,;ü'" }]);
      assert.deepEqual(await only({ mark, other: "x" }), []);
    });
  });
});

test("create: what is wrong or not built is said", async () => {
  const refused = async (options) => rejection(Sandbox.create(options));
  assert.match((await refused({ labels: { a: "x".repeat(200) } })).message, /labels/);
  const six = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`k${i}`, "v"]));
  assert.match((await refused({ labels: six })).message, /limit of 5/);
  for (const [options, word] of [
    [{ allowNet: ["example.com"] }, /allow_net/],
    [{ secrets: { KEY: { hosts: ["example.com"], value: "hush-hush" } } }, /secrets/],
    [{ volumes: { "/data": "vol" } }, /volumes/],
    [{ root: "snap" }, /root/],
  ]) {
    const error = await refused(options);
    assert.equal(error.status, 400);
    assert.match(error.message, word);
    assert.doesNotMatch(error.message, /hush/);
  }
  for (const options of [{ ssh: true }, { port: 8000 }]) assert.ok(await refused(options));
});

test("create: a config of 150 KB", () =>
  withSandbox({ env: { X: "y" }, labels: {} }, async () => {
    const config = btoa(JSON.stringify({ memory_mb: 1280, volumes: [], env: { BIG: "x".repeat(100_000) } }));
    const { rawSocket } = await import("./common.mjs");
    const socket = rawSocket("/api/v3/sandboxes/create", { "x-deno-sandbox-config": config });
    await new Promise((open, fail) => socket.on("open", open).on("error", fail));
    socket.close();
  }));

test("Latin-1 in the config", () =>
  withSandbox({ labels: { wort: "grüße" } }, async (sandbox) => {
    assert.ok((await only({ wort: "grüße" })).some((found) => found.id === sandbox.id));
  }));

test("memory is checked", async () => {
  await withSandbox({ memory: "1GiB" }, async (sandbox) => assert.ok(sandbox.id));
});

test("tokens", async () => {
  const error = await rejection(Sandbox.create({ token: "ddo_wrong" }));
  assert.ok(error instanceof sdk.InvalidTokenError);
  const client = new Client({ token: "ddo_wrong" });
  const refused = await rejection(client.sandboxes.list());
  assert.deepEqual([refused.status, refused.code], [401, "INVALID_TOKEN"]);
  assert.ok(refused.traceId);
  for (const path of ["/api/v3/sandbox/x", "/api/v2/apps", "/nowhere", "/"]) {
    assert.equal((await fetch(endpoint + path)).status, 401);
  }
});

test("unknown and stopped ids", async () => {
  const unknown = "sbx_ord_00000000000000000000";
  const error = await rejection(Sandbox.connect(unknown));
  assert.deepEqual([error.status, error.code], [404, "SANDBOX_NOT_FOUND"]);
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await fetch(`${endpoint}/api/v3/sandbox/${unknown}`, { method: "DELETE", headers })).status, 404);
  const sandbox = await Sandbox.create();
  await sandbox.kill();
  const gone = await rejection(Sandbox.connect(sandbox.id));
  assert.deepEqual([gone.status, gone.code], [410, "SANDBOX_STOPPED"]);
  assert.match(gone.message, /killed/);
});

test("the limit of sandboxes at once", async () => {
  const open = [];
  try {
    const error = await rejection((async () => {
      for (let i = 0; i < 100; i++) open.push(await Sandbox.create());
    })());
    assert.deepEqual([error.status, error.code], [429, "SANDBOX_CONCURRENCY_LIMIT_EXCEEDED"]);
    assert.match(error.message, /max_sandboxes/);
  } finally {
    await Promise.all(open.map((sandbox) => sandbox.kill()));
  }
  await withSandbox(async (sandbox) => assert.equal(await sandbox.sh`echo again`.text(), "again\n"));
});

test("what is not built answers", () =>
  withSandbox(async (sandbox) => {
    assert.match((await rejection(sandbox.exposeHttp({ port: 8000 }))).message, /501/);
    assert.match((await rejection(sandbox.exposeSsh())).message, /501/);
    assert.match((await rejection(sandbox.exposeVscode())).message, /not available/);
    const client = new Client();
    for (const call of [client.volumes.list(), client.snapshots.list(), client.apps.list()]) {
      assert.deepEqual([(await rejection(call)).status, (await rejection(call)).code], [501, "NOT_AVAILABLE"]);
    }
  }));
