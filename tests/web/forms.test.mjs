// The two forms in which the one source is served: head, parts and tail, joined as they are.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import vm from "node:vm";
import { client, text } from "./stage.mjs";

const joined = (form) => text(`client/${form}.head.js`) + client + text(`client/${form}.tail.js`);

test("the classic script adds GalileoSend to the page, and nothing else", () => {
  for (const document of [
    { currentScript: { src: "https://files.example/galileo_send.js" } },
    { currentScript: { src: "" }, baseURI: "https://page.example/" },
    { currentScript: null, baseURI: "https://page.example/" },
  ]) {
    const context = vm.createContext({ document, URL });
    const before = Object.keys(context);
    vm.runInContext(joined("classic"), context);
    assert.deepEqual(
      Object.keys(context).filter((name) => !before.includes(name)),
      ["GalileoSend"],
    );
    assert.equal(vm.runInContext("typeof GalileoSend", context), "function");
  }
});

test("the classic script looks for its Worker where it came from itself", async () => {
  const made = [];
  const context = vm.createContext({
    document: {
      currentScript: { src: "https://files.example/g/galileo_send.js?v=2" },
      baseURI: "https://page.example/",
    },
    URL,
    AbortController,
    crypto,
    performance,
    setInterval: () => 0,
    clearInterval() {},
    clearTimeout() {},
    WebSocket: class {
      close() {}
    },
    Worker: class {
      constructor(url) {
        made.push(url);
      }
      postMessage() {}
      terminate() {}
    },
    file: { name: "a", size: 1, slice() {} },
  });
  vm.runInContext(joined("classic"), context);
  vm.runInContext('GalileoSend({ url: "/up", file })', context);
  assert.deepEqual(made, ["https://files.example/g/hash_worker.js"]);
});

test("the module exports upload, GalileoSend and UploadError", async () => {
  const folder = mkdtempSync(join(tmpdir(), "galileo-"));
  try {
    const path = join(folder, "galileo.mjs");
    writeFileSync(path, joined("module"));
    const module = await import(pathToFileURL(path));
    assert.deepEqual(Object.keys(module).sort(), [
      ...["GalileoSend", "UploadError", "unfinished", "upload", "uploadAll"],
    ]);
    const error = new module.UploadError([{ error: "why", code: "c" }]);
    assert.deepEqual([error.message, error.code, error.name], ["why", "c", "UploadError"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the vendored files are those that their note lists", () => {
  const note = text("vendor/hash-wasm/README.md");
  const listed = [...note.matchAll(/^([0-9a-f]{64})  (\S+)$/gm)];
  assert.equal(listed.length, 4);
  for (const [, sum, name] of listed) {
    const bytes = text(`vendor/hash-wasm/${name}`);
    assert.equal(createHash("sha256").update(bytes).digest("hex"), sum, name);
  }
  assert.match(text("vendor/hash-wasm/LICENSE"), /MIT License/);
});
