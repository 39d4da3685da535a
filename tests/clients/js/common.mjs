// What the test files share: the client under test, and sandboxes that are closed whatever happens.
import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";

const sdk = await import(process.env.ATOLL_TEST_SDK ?? "@deno/sandbox");
export const { Client, Sandbox } = sdk;
export { sdk };

export const endpoint = process.env.DENO_SANDBOX_ENDPOINT;
export const token = process.env.DENO_DEPLOY_TOKEN;

// Run `body` with a fresh sandbox and a directory in it that no other test uses.
export async function withSandbox(options, body) {
  if (typeof options === "function") [options, body] = [{}, options];
  const sandbox = await Sandbox.create(options);
  try {
    await body(sandbox, await sandbox.fs.makeTempDir());
  } finally {
    await sandbox.close();
  }
}

export const text = async (stream) => new TextDecoder().decode(await bytes(stream));

export async function bytes(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
}

export const random = (size) => new Uint8Array(randomBytes(size));

export function pieces(data, size) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= data.length) return controller.close();
      controller.enqueue(data.slice(at, at + size));
      at += size;
    },
  });
}

export async function run(sandbox, command, args, options = {}) {
  const child = await sandbox.spawn(command, { args, stdout: "piped", stderr: "piped", ...options });
  const output = await child.output();
  return { ...output.status, out: output.stdoutText, err: output.stderrText };
}

// JSON-RPC as no client sends it, on a connection that looks like JavaScript's.
export function rawSocket(path, headers = {}) {
  return new WebSocket(endpoint.replace("http", "ws") + path, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
}

export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

export async function poll(check, limitMs = 10_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error("it did not come to pass");
    await new Promise((done) => setTimeout(done, 20));
  }
}
