// The upload page: what was chosen, dropped or pasted goes into the queue, and the list shows how
// it stands. The server puts its limits into the attributes of <body>.

import { upload } from "./galileo.js";
import { filesOf } from "./page_drop.js";
import { Proof } from "./page_proof.js";
import { Queue, hasEnded, mayRetry } from "./page_queue.js";
import { Row } from "./page_row.js";
import { amountText, countText, endText, sizeText } from "./page_words.js";

const PAINT = 250; // ms between two looks of the page: more often than that nobody reads
const ANNOUNCE = 1_000; // ms that ends are gathered for a screen reader
const ROWS_AT_ONCE = 500; // made before the browser may do something else
const SHOWN = 200; // rows from the top that are always to be seen, as page.css has it
const SMALL = 2 ** 20; // bytes; a file of so many is hashed in a few milliseconds

const byId = (id) => document.getElementById(id);
const { dataset } = document.body;
const largest = Number(dataset.maxFileSize);
// Relative to the page's folder, so that a proxy may put all of it below a path of its own.
const url = new URL(`./${dataset.path.slice(1)}`, document.baseURI);
const title = document.title;

/** A worker of its own is for a file that takes a while; a small one is hashed before it starts. */
const workerFor = ({ size }) => (size > SMALL ? undefined : false);

function send(file, onprogress) {
  const { value } = proof;
  const token = value ?? undefined;
  const sending = upload({ url, file, onprogress, token, worker: workerFor(file) });
  // Before the queue hears of it, which then waits for another one.
  sending.catch(({ code }) => {
    if (code === "unauthorized") proof.refused(value);
  });
  return sending;
}

const needed = dataset.auth !== "none";
const queue = new Queue({
  send,
  largest,
  onchange,
  proof: () => (needed ? proof.value : true),
});
const proof = new Proof(byId("proof"), { needed, onchange: () => queue.go() });

/* Showing. */

const rows = new Map(); // upload → Row; it is behind queue.uploads while rows are being made
const changed = new Set();
const ended = new Set(); // not announced yet
let painting = null;
let painted = -PAINT;
let announcing = null;

function onchange(changedUpload) {
  changed.add(changedUpload);
  painting ??= setTimeout(paint, Math.max(0, painted + PAINT - performance.now()));
  if (!hasEnded(changedUpload)) return;
  ended.add(changedUpload);
  announcing ??= setTimeout(announce, ANNOUNCE);
}

/** Whoever pressed a button shall see at once what it does. */
function paintSoon() {
  clearTimeout(painting);
  painting = setTimeout(paint);
}

function paint() {
  painting = null;
  painted = performance.now();
  for (const each of changed) rows.get(each)?.paint();
  changed.clear();
  paintTotal();
}

function paintTotal() {
  const count = { waiting: 0, sending: 0, checking: 0, stored: 0, failed: 0, cancelled: 0 };
  const sum = { sent: 0, of: 0, rate: 0 };
  let unseen = 0;
  let retriable = 0;
  for (const [index, each] of queue.uploads.entries()) {
    const { state, size, sent, rate } = each;
    count[state] += 1;
    if (index >= SHOWN && (state === "waiting" || state === "stored")) unseen += 1;
    if (state === "failed" && mayRetry(each)) retriable += 1;
    if (state === "failed" || state === "cancelled") continue;
    sum.sent += sent;
    sum.of += size;
    sum.rate += rate;
  }
  byId("summary").hidden = false;
  byId("count").textContent = countText(queue.uploads.length, count);
  byId("amount").textContent = amountText({ ...sum, active: queue.active });
  show(byId("cancel-all"), queue.active);
  show(byId("retry-all"), !queue.active && retriable > 1);
  byId("more").hidden = unseen === 0 || byId("uploads").classList.contains("all");
  byId("unseen").textContent = `${unseen} more that wait or are stored.`;
  const percent = sum.of > 0 ? Math.floor((100 * sum.sent) / sum.of) : 0;
  document.title = queue.active ? `${percent}% · ${title}` : title;
  // Only while it is needed: with such a handler some browsers keep no page for going back.
  const listen = queue.active ? addEventListener : removeEventListener;
  listen("beforeunload", keep);
}

function show(button, visible) {
  if (!visible && button === document.activeElement) byId("total").focus();
  button.hidden = !visible;
}

function keep(event) {
  event.preventDefault(); // the browser asks whether to leave
  event.returnValue = true; // likewise, in older ones
}

function announce() {
  announcing = null;
  const told = [...ended].filter(hasEnded); // some may have been begun again
  ended.clear();
  if (told.length > 0) byId("announce").textContent = endText(told);
}

/** Make rows for what has none, a few at a time: ten thousand at once would freeze the page. */
function list() {
  const fragment = document.createDocumentFragment();
  for (const each of queue.uploads.slice(rows.size, rows.size + ROWS_AT_ONCE)) {
    const row = new Row(byId("row"), each, {
      oncancel: () => act("cancel", [each]),
      onretry: () => act("retry", [each]),
    });
    rows.set(each, row);
    fragment.append(row.element);
  }
  byId("uploads").append(fragment);
  if (rows.size < queue.uploads.length) setTimeout(list);
}

/* Choosing. */

function add(files) {
  byId("notice").textContent = "";
  queue.add(files);
  list();
}

async function addFrom(transfer) {
  const finding = filesOf(transfer);
  byId("notice").textContent = "Looking for files…";
  const { files, unreadable } = await finding;
  add(files);
  const lost = unreadable === 1 ? "1 thing" : `${unreadable} things`;
  if (unreadable > 0) byId("notice").textContent = `${lost} could not be read, and stayed out.`;
  else if (files.length === 0) byId("notice").textContent = "There was no file in it.";
}

function act(what, uploads) {
  queue[what](uploads);
  paintSoon();
}

for (const input of [byId("files"), byId("folder")]) {
  input.onchange = () => {
    add(input.files);
    input.value = ""; // so that the same file may be chosen again
  };
}
byId("show-all").onclick = () => {
  byId("total").focus(); // the button goes
  byId("uploads").classList.add("all");
  paintSoon();
};
byId("cancel-all").onclick = () => act("cancel", queue.uploads);
byId("retry-all").onclick = () =>
  act("retry", queue.uploads.filter((each) => each.state === "failed" && mayRetry(each)));

const hasFiles = (transfer) => transfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event.dataTransfer)) return;
  event.preventDefault(); // it may be dropped here
  event.dataTransfer.dropEffect = "copy";
  byId("drop").toggleAttribute("data-over", true);
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  // From one element to the next it has not left the page.
  if (!relatedTarget) byId("drop").removeAttribute("data-over");
});
document.addEventListener("drop", (event) => {
  byId("drop").removeAttribute("data-over");
  if (!hasFiles(event.dataTransfer)) return;
  event.preventDefault(); // or the browser opens the file
  addFrom(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  if (hasFiles(event.clipboardData)) addFrom(event.clipboardData);
});

byId("limit").textContent = `Up to ${sizeText(largest)} a file.`;
byId("folder").parentElement.hidden = !("webkitdirectory" in byId("folder"));
byId("drop").hidden = false;
