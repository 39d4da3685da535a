// Runs in a REPL's process, as an async function with the host's connection as `channel`.
// One JSON object a line each way: {id, code} or {id, fn, args}; {id, value} or {id, error: {name, message, stack}}.
// V8's own REPL mode does the evaluation (docs/adr/0004-repl.md).

const { Session } = await import("node:inspector");

const MAX_DEPTH = 100;
const MAX_VALUES = 2_000_000;
const MAX_ANSWER_CHARS = 8 * 1024 * 1024;
const MAX_TEXT_CHARS = 64 * 1024;

// -- evaluation

const session = new Session();
session.connect();
const post = (method, params) =>
  new Promise((resolve, reject) =>
    session.post(method, params, (error, answer) => error ? reject(new Error(error.message)) : resolve(answer))
  );

class Thrown {
  constructor(value) {
    this.value = value;
  }
}

// The inspector names objects by id; only a function that it calls on an object can hand the object over.
const hands = { value: undefined };
globalThis.__hands = hands;
const handsId = (await post("Runtime.evaluate", { expression: "globalThis.__hands" })).result.objectId;
delete globalThis.__hands;

async function take(remote) {
  if (remote.objectId === undefined && remote.unserializableValue === undefined) return remote.value;
  const { objectId, unserializableValue } = remote;
  await post("Runtime.callFunctionOn", {
    objectId: handsId,
    functionDeclaration: "function (value) { this.value = value; }",
    arguments: [{ objectId, unserializableValue }],
  });
  const { value } = hands;
  hands.value = undefined;
  return value;
}

// Without it the code would run inside the inspector's own call, where `Deno.exit` makes Deno 2.9 panic.
const OUTSIDE = "await null;";

async function evaluateSource(code) {
  const params = { expression: OUTSIDE + code, replMode: true, awaitPromise: true, silent: true, objectGroup: "eval" };
  try {
    const { result, exceptionDetails } = await post("Runtime.evaluate", params);
    if (!exceptionDetails) return await take(result);
    throw new Thrown(exceptionDetails.exception ? await take(exceptionDetails.exception) : exceptionDetails.text);
  } finally {
    await post("Runtime.releaseObjectGroup", { objectGroup: "eval" });
  }
}

async function settled(value) {
  rejections.delete(value);
  try {
    return await value;
  } catch (error) {
    throw new Thrown(error);
  }
}

const evaluate = async (code) => settled(await evaluateSource(await prepare(code)));

async function call(fn, args) {
  const target = await evaluate(`(${fn}\n)`);
  if (typeof target !== "function") throw new Thrown(new TypeError(`${fn.slice(0, 200)} is not a function`));
  try {
    return await target(...args);
  } catch (error) {
    throw new Thrown(error);
  }
}

// -- from TypeScript in a module to a script in JavaScript

const AsyncFunction = (async () => {}).constructor;
const MAYBE_TYPES = /<[^]*>/;
let modules;

async function prepare(code) {
  // As every REPL has it: `{a: 1}` is an object, unless only a block makes sense of it.
  const candidates = /^\s*\{/.test(code) && !/;\s*$/.test(code) ? [`(${code}\n)`, code] : [code];
  if (!code.includes("import") && !MAYBE_TYPES.test(code)) {
    const plain = candidates.find(isScript);
    if (plain !== undefined) return plain;
  }
  modules ??= await loadModules();
  for (const candidate of candidates) {
    // "strip" keeps every position as it was; "transform" also knows enums and parameter properties.
    for (const mode of ["strip", "transform"]) {
      try {
        return withoutImports(modules.stripTypeScriptTypes(candidate, { mode }));
      } catch {
        // The next way, or in the end V8, which says what is wrong.
      }
    }
  }
  return withoutImports(code);
}

/** Whether it is JavaScript as it stands, so that loading what knows TypeScript (a second in emulation) can wait. */
function isScript(code) {
  try {
    return Boolean(new AsyncFunction(code));
  } catch {
    return false;
  }
}

async function loadModules() {
  const { registerHooks, stripTypeScriptTypes } = await import("node:module");
  // Code that V8 evaluates has no module that a relative import could be relative to: take the working directory.
  registerHooks({
    resolve(specifier, context, next) {
      const relative = !context.parentURL && /^\.{0,2}\//.test(specifier);
      return next(relative ? new URL(specifier, `file://${encodeURI(Deno.cwd())}/`).href : specifier, context);
    },
  });
  return { stripTypeScriptTypes };
}

const BLANK = /(?:\s|;|\/\/[^\n]*(?:\n|$)|\/\*[^]*?\*\/)*/y;
const IMPORT =
  /import\s*(?:(?:([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*,?\s*)?(?:\*\s*as\s+([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*|\{([^}]*)\}\s*)?from\s*)?("[^"\n]*"|'[^'\n]*')\s*(?:with\s*(\{[^}]*\}))?[^\S\n]*(?=;|\n|$|\/)/yu;

/** Static imports at the beginning as dynamic ones: a script cannot have the former. */
function withoutImports(code) {
  let position = 0, made = "";
  for (;;) {
    BLANK.lastIndex = position;
    const blank = BLANK.exec(code)[0];
    IMPORT.lastIndex = position + blank.length;
    const found = IMPORT.exec(code);
    if (!found) return made + code.slice(position);
    made += blank + dynamicImport(...found.slice(1)) + ";";
    position = IMPORT.lastIndex;
  }
}

function dynamicImport(fallback, namespace, names, specifier, attributes) {
  const loaded = `await import(${specifier}${attributes ? `, {with: ${attributes}}` : ""})`;
  const picked = names === undefined ? [] : [names.replace(/([^\s,]+)\s+as\s+([^\s,]+)/g, "$1: $2")];
  if (fallback) picked.unshift(`default: ${fallback}`);
  if (!namespace) return picked.length ? `const {${picked.join(", ")}} = ${loaded}` : loaded;
  return `const ${namespace} = ${loaded}` + (picked.length ? `; const {${picked.join(", ")}} = ${namespace}` : "");
}

// -- from values to JSON

class Limit extends RangeError {}
const sizes = { left: 0 };
const above = [];

function toJson(value) {
  sizes.left = MAX_VALUES;
  above.length = 0;
  const text = JSON.stringify(plain(value));
  if (text.length > MAX_ANSWER_CHARS) {
    throw new Limit(`the result has ${text.length} characters as JSON, over the limit of ${MAX_ANSWER_CHARS}`);
  }
  return text;
}

function plain(value) {
  if (--sizes.left < 0) throw new Limit(`the result has over ${MAX_VALUES} values`);
  switch (typeof value) {
    case "string":
      return value.toWellFormed();
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : null;
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    case "object":
      return value === null ? null : plainObject(value);
    default:
      return null;
  }
}

function plainObject(value) {
  // A cycle, or a tree without an end, becomes null where it would begin again.
  if (above.length >= MAX_DEPTH || above.includes(value)) return null;
  above.push(value);
  try {
    return members(value);
  } catch (error) {
    if (error instanceof Limit) throw error;
    // A getter, a toJSON or a proxy that throws.
    return null;
  } finally {
    above.pop();
  }
}

function members(value) {
  if (Array.isArray(value)) return Array.from(value, plain);
  if (typeof value.toJSON === "function") return plain(value.toJSON());
  if (value instanceof Map || value instanceof Set) return Array.from(value, plain);
  if (value instanceof Error) return plain({ name: value.name, message: value.message, stack: cleaned(value.stack) });
  if (value instanceof RegExp) return String(value);
  if (value instanceof String || value instanceof Number || value instanceof Boolean) return plain(value.valueOf());
  if (value instanceof ArrayBuffer) return listed(new Uint8Array(value));
  if (ArrayBuffer.isView(value)) return listed(value);
  const made = Object.create(null);
  for (const key of Object.keys(value)) {
    const member = value[key];
    if (member !== undefined && typeof member !== "function" && typeof member !== "symbol") {
      made[key.toWellFormed()] = plain(member);
    }
  }
  return made;
}

function listed(view) {
  if (view.byteLength > MAX_VALUES) throw new Limit(`the result has over ${MAX_VALUES} values`);
  return view instanceof DataView ? listed(new Uint8Array(view.buffer)) : Array.from(view, plain);
}

function described(thrown) {
  try {
    if (typeof thrown === "object" && thrown !== null && "message" in thrown) {
      return { name: text(thrown.name ?? "Error"), message: text(thrown.message), stack: text(cleaned(thrown.stack)) };
    }
    return { name: "Error", message: text(typeof thrown === "string" ? thrown : Deno.inspect(thrown)), stack: "" };
  } catch {
    return { name: "Error", message: "an object that cannot be described was thrown", stack: "" };
  }
}

const text = (value) => String(value).slice(0, MAX_TEXT_CHARS).toWellFormed();

/** A stack without the frames of this harness, and with the columns of the code as it was given. */
function cleaned(stack) {
  const lines = String(stack ?? "").split("\n");
  const ours = lines.findIndex((line) => line.includes("(ext:deno_node/inspector.js") || line.includes("atoll:repl"));
  const shifted = (_, column) => `<anonymous>:1:${Math.max(1, column - OUTSIDE.length)}`;
  return (ours < 0 ? lines : lines.slice(0, ours)).join("\n").replace(/<anonymous>:1:(\d+)/g, shifted);
}

// -- what a REPL survives

const rejections = new Map();
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  const { promise, reason } = event;
  rejections.set(promise, reason);
  // Not when it is the value of what is being evaluated, which `settled` takes up in a moment.
  setTimeout(() => rejections.delete(promise) && console.error("Uncaught (in promise)", reason), 0);
});
globalThis.addEventListener("error", (event) => {
  event.preventDefault();
  console.error("Uncaught", event.error);
});

// -- the channel

async function send(line) {
  const bytes = new TextEncoder().encode(line + "\n");
  for (let at = 0; at < bytes.length;) at += await channel.write(bytes.subarray(at));
}

async function answer(line) {
  const { id, code, fn, args } = JSON.parse(line);
  let body;
  try {
    body = `"value":${toJson(code !== undefined ? await evaluate(code) : await call(fn, args))}`;
  } catch (error) {
    body = `"error":${JSON.stringify(described(error instanceof Thrown ? error.value : error))}`;
  }
  await send(`{"id":${id},${body}}`);
}

async function* lines() {
  const chunk = new Uint8Array(65536), decoder = new TextDecoder();
  let parts = [];
  for (let size; (size = await channel.read(chunk)) !== null;) {
    const [first, ...others] = decoder.decode(chunk.subarray(0, size), { stream: true }).split("\n");
    parts.push(first);
    for (const other of others) {
      yield parts.join("");
      parts = [other];
    }
  }
}

await send('{"id":0}');
let previous = Promise.resolve();
for await (const line of lines()) previous = previous.then(() => answer(line));
Deno.exit(0);
//# sourceURL=atoll:repl
