// The folders of files: what is sent, and what a later file of the same run replaces.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BOTH, agree } from "./resuming.mjs";
import { ScriptedFile, quiet, stage, until } from "./stage.mjs";

const OPTIONS = { url: "ws://host/", connections: 1, hash: "none" };

const fileAt = (path, size = 10) => {
  const file = new ScriptedFile(size, { name: path.split("/").at(-1) });
  return Object.assign(file, { webkitRelativePath: path.includes("/") ? path : "" });
};

/** The metadata of the only file, once the connection is open. */
function metadataOf(page) {
  page.sockets[0].open();
  return page.sockets[0].sent[0];
}

for (const [what, options, folder] of [
  ["no folder", { file: fileAt("a.txt") }, undefined],
  ["the folder that it was chosen with", { file: fileAt("2026/june/a.txt") }, "2026/june"],
  ["the folder of the option", { file: fileAt("2026/june/a.txt"), folder: "x" }, "x"],
  ["no folder if the option says so", { file: fileAt("2026/june/a.txt"), folder: "" }, undefined],
]) {
  test(`a file has ${what}`, () => {
    const page = stage();
    page.upload({ url: "ws://host/", ...options });
    const metadata = metadataOf(page);
    assert.deepEqual([metadata.name, metadata.folder], ["a.txt", folder]);
  });
}

test("each of many files has its folder", () => {
  const page = stage();
  const files = [fileAt("june/a.txt"), { file: fileAt("may/a.txt"), folder: "x/y" }, fileAt("a.txt")];
  const { files: added } = page.uploadAll({ url: "ws://host/", files });
  page.sockets.forEach((socket) => socket.open());
  assert.deepEqual(page.sockets.map(({ sent }) => sent[0].folder), ["june", "x/y", undefined]);
  assert.deepEqual(added.map(({ folder }) => folder), ["june", "x/y", ""]);
});

test("the original interface sends a folder only where one is given", () => {
  for (const [options, folder] of [[{}, undefined], [{ folder: "june" }, "june"]]) {
    const page = stage();
    page.send(fileAt("2026/a.txt"), options);
    assert.equal(metadataOf(page).folder, folder);
  }
});

test("a folder that is not a string is refused", () => {
  const { upload } = stage();
  const wrong = () => upload({ url: "ws://host/", file: fileAt("a.txt"), folder: ["june"] });
  assert.throws(wrong, { name: "TypeError", message: /folder must be a string/ });
});

/** Store three files on one connection; `paths` are what the server says of each. */
async function run(...paths) {
  const page = stage();
  const changes = [];
  const onfile = ({ name, state }) => changes.push(`${name} ${state}`);
  const files = paths.map((_, index) => fileAt(`f${index}`));
  const uploads = page.uploadAll({ ...OPTIONS, files, onfile });
  const [socket] = page.sockets;
  await agree(socket, BOTH, { path: paths[0] });
  await until(() => socket.finished.length === files.length);
  for (const [index, path] of paths.entries()) {
    if (index > 0) socket.say({ close: true, file: index, path });
  }
  await quiet();
  return { uploads, changes };
}

test("a file that a later one has replaced does not count as stored", async () => {
  const { uploads, changes } = await run("june/a", "june/b", "june/a");
  const states = uploads.files.map(({ state }) => state);
  assert.deepEqual(states, ["replaced", "stored", "stored"]);
  const results = await uploads.done;
  assert.deepEqual(results.map(({ outcome }) => outcome), ["replaced", "stored", "stored"]);
  assert.deepEqual(results.map(({ path }) => path), ["june/a", "june/b", "june/a"]);
  assert.deepEqual(changes.slice(-2), ["f0 replaced", "f2 stored"]);
  const { files, filesEnded, size, sent, ratio } = uploads.progress;
  assert.deepEqual([files, filesEnded, size, sent, ratio], [2, 2, 20, 20, 1]);
});

test("of three at one path only the last one is stored", async () => {
  const { uploads } = await run("a", "a", "a");
  assert.deepEqual(uploads.files.map(({ state }) => state), ["replaced", "replaced", "stored"]);
});

test("where the server does not say where files are, each is stored", async () => {
  const { uploads } = await run(undefined, undefined, undefined);
  assert.deepEqual(uploads.files.map(({ state }) => state), ["stored", "stored", "stored"]);
  assert.equal(uploads.files[0].receipt.path, null);
});

test("what was cleared is not shown as replaced", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: [fileAt("a"), fileAt("b")] });
  const [socket] = page.sockets;
  await agree(socket, BOTH, { path: "x" });
  const [cleared] = uploads.files;
  uploads.clear();
  socket.say({ close: true, file: 1, path: "x" });
  await quiet();
  assert.equal(cleared.state, "stored");
  assert.equal(uploads.progress.files, 1);
});
