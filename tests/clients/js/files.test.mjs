import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile, mkdir, symlink, readlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { bytes, pieces, random, rejection, withSandbox } from "./common.mjs";

test("read and write whole files", () =>
  withSandbox(async ({ fs }, dir) => {
    await fs.writeTextFile(`${dir}/t`, "grüße\n");
    assert.equal(await fs.readTextFile(`${dir}/t`), "grüße\n");
    await fs.writeTextFile(`${dir}/t`, "more", { append: true });
    assert.equal(await fs.readTextFile(`${dir}/t`), "grüße\nmore");
    const data = random(100_000);
    await fs.writeFile(`${dir}/b`, data, { mode: 0o600 });
    assert.deepEqual(await fs.readFile(`${dir}/b`), data);
    assert.equal((await fs.stat(`${dir}/b`)).mode & 0o777, 0o600);
    assert.equal((await rejection(fs.writeFile(`${dir}/b`, data, { createNew: true }))).constructor.name, "AlreadyExists");
    assert.equal((await rejection(fs.writeFile(`${dir}/c`, data, { create: false }))).code, "ENOENT");
    await fs.writeFile(`${dir}/empty`, new Uint8Array());
    assert.equal((await fs.readFile(`${dir}/empty`)).length, 0);
  }));

test("write streams", () =>
  withSandbox(async ({ fs }, dir) => {
    const data = random(1_000_000);
    await fs.writeFile(`${dir}/s`, pieces(data, 30_000));
    assert.deepEqual(await fs.readFile(`${dir}/s`), data);
    await fs.writeTextFile(`${dir}/t`, new ReadableStream({
      start(controller) {
        for (const word of ["eins ", "zwei ", "drei"]) controller.enqueue(word);
        controller.close();
      },
    }));
    assert.equal(await fs.readTextFile(`${dir}/t`), "eins zwei drei");
  }));

test("a stream that fails fails the write", () =>
  withSandbox(async (sandbox, dir) => {
    const failing = new ReadableStream({
      start: (controller) => controller.enqueue(random(1000)),
      pull: (controller) => controller.error(new Error("source broke")),
    });
    await rejection(sandbox.fs.writeFile(`${dir}/f`, failing));
    assert.equal(await sandbox.sh`echo alive`.text(), "alive\n");
  }));

test("a write that the guest refuses", () =>
  withSandbox(async (sandbox, dir) => {
    assert.equal((await rejection(sandbox.fs.writeFile(`${dir}/no/f`, pieces(random(500_000), 10_000)))).code, "ENOENT");
    assert.equal(await sandbox.sh`echo alive`.text(), "alive\n");
  }));

test("20 MB both ways", () =>
  withSandbox(async ({ fs }, dir) => {
    const data = random(20_000_000);
    await fs.writeFile(`${dir}/big`, data);
    assert.equal((await fs.stat(`${dir}/big`)).size, data.length);
    assert.ok(Buffer.from(await fs.readFile(`${dir}/big`)).equals(data));
    await fs.writeFile(`${dir}/streamed`, pieces(data, 256 * 1024));
    const file = await fs.open(`${dir}/streamed`);
    assert.ok(Buffer.from(await bytes(file.readable)).equals(data));
  }));

test("aborts: under way, finished, unknown", () =>
  withSandbox(async (sandbox, dir) => {
    await sandbox.sh`mkfifo ${dir}/fifo`;
    const reading = new AbortController();
    const blocked = sandbox.fs.readFile(`${dir}/fifo`, { signal: reading.signal });
    setTimeout(() => reading.abort(), 50);
    assert.equal((await rejection(blocked)).name, "AbortError");
    const finished = new AbortController();
    await sandbox.fs.writeTextFile(`${dir}/x`, "x", { signal: finished.signal });
    finished.abort();
    const streaming = new AbortController();
    const endless = new ReadableStream({
      async pull(controller) {
        await new Promise((done) => setTimeout(done, 5));
        controller.enqueue(random(100));
      },
    });
    const writing = sandbox.fs.writeFile(`${dir}/y`, endless, { signal: streaming.signal });
    setTimeout(() => streaming.abort(), 50);
    await rejection(writing);
    assert.equal(await sandbox.sh`echo alive; exec 3<>${dir}/fifo`.text(), "alive\n");
  }));

test("directories", () =>
  withSandbox(async ({ fs }, dir) => {
    await fs.mkdir(`${dir}/a/b`, { recursive: true });
    await fs.mkdir(`${dir}/a/m`, { mode: 0o700 });
    assert.equal((await fs.stat(`${dir}/a/m`)).mode & 0o777, 0o700);
    assert.equal((await rejection(fs.mkdir(`${dir}/a`))).constructor.name, "AlreadyExists");
    await fs.writeTextFile(`${dir}/a/f`, "x");
    await fs.symlink("f", `${dir}/a/l`);
    const entries = [];
    for await (const entry of fs.readDir(`${dir}/a`)) entries.push(entry);
    entries.sort((x, y) => x.name.localeCompare(y.name));
    assert.deepEqual(entries.map((e) => [e.name, e.isFile, e.isDirectory, e.isSymlink]), [
      ["b", false, true, false], ["f", true, false, false], ["l", false, false, true], ["m", false, true, false],
    ]);
    await rejection(fs.remove(`${dir}/a`));
    await fs.remove(`${dir}/a`, { recursive: true });
    assert.equal((await rejection(fs.stat(`${dir}/a`))).code, "ENOENT");
  }));

test("names that are not UTF-8 are listed", () =>
  withSandbox(async (sandbox, dir) => {
    await sandbox.sh`touch ${dir}/$(printf 'bad\\377name')`;
    const names = [];
    for await (const entry of sandbox.fs.readDir(dir)) names.push(entry.name);
    assert.deepEqual(names, ["bad\ufffdname"]);
  }));

test("links, copies, renames", () =>
  withSandbox(async ({ fs }, dir) => {
    await fs.writeTextFile(`${dir}/f`, "content");
    await fs.link(`${dir}/f`, `${dir}/hard`);
    assert.equal((await fs.stat(`${dir}/hard`)).nlink, 2);
    await fs.symlink(`${dir}/f`, `${dir}/soft`, { type: "file" });
    assert.equal(await fs.readLink(`${dir}/soft`), `${dir}/f`);
    assert.equal(await fs.realPath(`${dir}/soft`), await fs.realPath(`${dir}/f`));
    assert.deepEqual([(await fs.lstat(`${dir}/soft`)).isSymlink, (await fs.stat(`${dir}/soft`)).isFile], [true, true]);
    await fs.copyFile(`${dir}/f`, `${dir}/copy`);
    await fs.rename(`${dir}/copy`, `${dir}/moved`);
    assert.equal(await fs.readTextFile(`${dir}/moved`), "content");
  }));

test("file information, times, modes, sizes", () =>
  withSandbox(async ({ fs }, dir) => {
    const path = `${dir}/f`;
    await fs.writeTextFile(path, "0123456789");
    const info = await fs.stat(path);
    assert.ok(info.isFile && info.mtime instanceof Date && info.birthtime instanceof Date && info.ctime instanceof Date);
    assert.equal(info.size, 10);
    for (const key of ["dev", "ino", "nlink", "uid", "gid", "rdev", "blksize", "blocks"]) {
      assert.equal(typeof info[key], "number");
    }
    const when = new Date("2001-02-03T04:05:06.789Z");
    await fs.utime(path, when, when);
    assert.deepEqual((await fs.stat(path)).mtime, when);
    await fs.chmod(path, 0o640);
    assert.equal((await fs.stat(path)).mode & 0o777, 0o640);
    await fs.chown(path, null, null);
    await fs.chown(path, info.uid, info.gid);
    await fs.truncate(path, 4);
    assert.equal(await fs.readTextFile(path), "0123");
    await fs.truncate(path);
    assert.equal((await fs.stat(path)).size, 0);
    const before = await fs.umask(0o077);
    await fs.writeTextFile(`${dir}/private`, "x");
    assert.equal((await fs.stat(`${dir}/private`)).mode & 0o777, 0o600);
    assert.equal(await fs.umask(), 0o077);
    await fs.umask(before);
  }));

test("temporary files", () =>
  withSandbox(async ({ fs }, dir) => {
    const file = await fs.makeTempFile({ dir, prefix: "p-", suffix: ".s" });
    assert.match(file, new RegExp(`^${dir}/p-.+\\.s$`));
    assert.ok((await fs.stat(file)).isFile);
    assert.ok((await fs.stat(await fs.makeTempDir({ dir }))).isDirectory);
    assert.ok((await fs.stat(await fs.makeTempFile())).isFile);
  }));

test("open files", () =>
  withSandbox(async ({ fs }, dir) => {
    const file = await fs.create(`${dir}/f`);
    assert.equal(await file.write(new TextEncoder().encode("hello world")), 11);
    assert.equal(await file.seek(6, 0), 6);
    assert.equal(await file.seek(-5n, 2), 6);
    const buffer = new Uint8Array(100);
    assert.equal(await file.read(buffer), 5);
    assert.equal(new TextDecoder().decode(buffer.subarray(0, 5)), "world");
    assert.equal(await file.read(buffer), null);
    assert.equal((await file.stat()).size, 11);
    await file.truncate(5);
    await file.sync();
    await file.syncData();
    await file.utime(new Date(1_000_000), new Date(2_000_000));
    assert.equal((await file.stat()).mtime.getTime(), 2_000_000);
    await file.lock(true);
    await file.unlock();
    await file.close();
    assert.equal(await fs.readTextFile(`${dir}/f`), "hello");
    await rejection(file.stat());
    const appended = await fs.open(`${dir}/f`, { append: true });
    await appended.write(new TextEncoder().encode("!"));
    await appended.close();
    const piped = await fs.open(`${dir}/p`, { write: true, create: true });
    const data = random(300_000);
    await pieces(data, 10_000).pipeTo(piped.writable);
    assert.deepEqual(await fs.readFile(`${dir}/p`), data);
    assert.equal((await rejection(fs.open(`${dir}/none`))).code, "ENOENT");
    assert.equal((await rejection(fs.open(`${dir}/f`, { write: true, createNew: true }))).constructor.name, "AlreadyExists");
  }));

test("a lock is waited for", () =>
  withSandbox(async ({ fs }, dir) => {
    const [one, two] = [await fs.create(`${dir}/f`), await fs.open(`${dir}/f`, { write: true })];
    await one.lock(true);
    let held = false;
    const waiting = two.lock(true).then(() => (held = true));
    await new Promise((done) => setTimeout(done, 100));
    assert.equal(held, false);
    await one.unlock();
    await waiting;
    await Promise.all([one.close(), two.close()]);
  }));

async function tree(sandbox, dir) {
  await sandbox.sh`mkdir -p ${dir}/t/src/deep ${dir}/t/node_modules/x; cd ${dir}/t
    touch a.ts b.js src/c.ts src/deep/d.txt node_modules/x/e.ts; ln -s src link`;
}

async function collect(iterator) {
  const found = [];
  for await (const entry of iterator) found.push(entry);
  return found;
}

test("walk", () =>
  withSandbox(async (sandbox, dir) => {
    await tree(sandbox, dir);
    const root = `${dir}/t`;
    const walk = async (options) =>
      (await collect(sandbox.fs.walk(root, options))).map((e) => e.path.slice(root.length + 1)).sort();
    assert.deepEqual(await walk(), ["", "a.ts", "b.js", "link", "node_modules", "node_modules/x", "node_modules/x/e.ts",
      "src", "src/c.ts", "src/deep", "src/deep/d.txt"]);
    assert.deepEqual(await walk({ exts: ["ts"], skip: [/node_modules/] }), ["a.ts", "src/c.ts"]);
    assert.deepEqual(await walk({ maxDepth: 1, includeDirs: false, includeSymlinks: false }), ["a.ts", "b.js"]);
    assert.deepEqual(await walk({ match: [/D\.TXT$/i] }), ["src/deep/d.txt"]);
    const first = (await collect(sandbox.fs.walk(root)))[0];
    assert.deepEqual([first.path, first.name, first.isDirectory, first.isFile, first.isSymlink],
      [root, "t", true, false, false]);
    assert.equal((await rejection(collect(sandbox.fs.walk(`${dir}/none`)))).code, "ENOENT");
  }));

test("walk: thousands of entries, and one that is left early", () =>
  withSandbox(async (sandbox, dir) => {
    await sandbox.sh`cd ${dir}; seq 1 5000 | xargs touch`;
    assert.equal((await collect(sandbox.fs.walk(dir))).length, 5001);
    // The client's process dies of an `end` that comes after its cancel.
    for (let round = 0; round < 30; round++) {
      let left = round % 5;
      for await (const entry of sandbox.fs.walk(dir, { maxDepth: round % 3 })) if (entry && left-- === 0) break;
    }
    assert.equal(await sandbox.sh`echo alive`.text(), "alive\n");
  }));

test("expandGlob", () =>
  withSandbox(async (sandbox, dir) => {
    await tree(sandbox, dir);
    const root = `${dir}/t`;
    const glob = async (pattern, options) =>
      (await collect(sandbox.fs.expandGlob(pattern, { root, ...options }))).map((e) => e.path.slice(root.length + 1));
    assert.deepEqual(await glob("**/*.ts", { exclude: ["node_modules"] }), ["a.ts", "src/c.ts"]);
    assert.deepEqual(await glob("*.{ts,js}"), ["a.ts", "b.js"]);
    assert.deepEqual(await glob("*.TS", { caseInsensitive: true }), ["a.ts"]);
    assert.deepEqual(await glob("nothing/*"), []);
  }));

test("upload and download", () =>
  withSandbox(async ({ fs }, dir) => {
    const local = await mkdtemp(join(tmpdir(), "atoll-js-"));
    await mkdir(join(local, "up/sub"), { recursive: true });
    await writeFile(join(local, "up/sub/file"), random(200_000));
    await symlink("sub/file", join(local, "up/link"));
    await fs.upload(join(local, "up"), dir);
    assert.deepEqual(Buffer.from(await fs.readFile(`${dir}/up/sub/file`)), await readFile(join(local, "up/sub/file")));
    await mkdir(join(local, "down"));
    await fs.download(`${dir}/up`, join(local, "down"));
    assert.deepEqual(await readFile(join(local, "down/up/sub/file")), await readFile(join(local, "up/sub/file")));
    assert.ok(await readlink(join(local, "down/up/link")));
  }));

test("wrong arguments are answered, not hung", () =>
  withSandbox(async ({ fs }, dir) => {
    assert.match((await rejection(fs.readTextFile("a\0b"))).message, /NUL/);
    await rejection(fs.chmod(dir, -1));
    await rejection(fs.truncate(dir, 5));
    await rejection(fs.readFile(dir));
    await rejection(fs.readTextFile("\ud800"));
  }));
