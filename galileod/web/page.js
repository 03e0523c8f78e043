// The upload page: files that are chosen, dropped or pasted go into the queue, and the list shows
// the state of each. The server puts its limits into the attributes of <body>.

import { uploadAll } from "./galileo.js";
import { Credential } from "./page_credential.js";
import { filesOf } from "./page_drop.js";
import { Queue, hasEnded, mayRetry } from "./page_queue.js";
import { Row } from "./page_row.js";
import { amountText, countText, endText, sizeText } from "./page_words.js";

const PAINT = 250; // ms between two updates of the page
const ANNOUNCE = 1_000; // ms for which results are collected for one announcement
const ROWS_AT_ONCE = 500; // made before the browser handles other events
const SHOWN = 200; // rows at the top that are always visible; page.css has the same number

const byId = (id) => document.getElementById(id);
const { dataset } = document.body;
const largest = Number(dataset.maxFileSize);
// Relative to the page, so that a proxy may serve all of it below a path prefix.
const url = new URL(`./${dataset.path.slice(1)}`, document.baseURI);
const title = document.title;

const required = dataset.auth !== "none";
const queue = new Queue({
  uploadAll,
  url,
  largest,
  onchange,
  onrefused: (used) => credential.refused(used),
  credential: () => (required ? credential.value : ""),
});
const credential = new Credential(byId("credential"), { required, onchange: () => queue.start() });

/* Display. */

const rows = new Map(); // upload → Row; shorter than queue.uploads while rows are being made
const changed = new Set();
const ended = new Set(); // uploads that are not announced yet
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

/** Show the effect of a button at once. */
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
  const sum = { sent: 0, of: 0, rate: queue.rate };
  let unseen = 0;
  let retriable = 0;
  for (const [index, each] of queue.uploads.entries()) {
    const { state, size, sent } = each;
    count[state] += 1;
    if (index >= SHOWN && (state === "waiting" || state === "stored")) unseen += 1;
    if (state === "failed" && mayRetry(each)) retriable += 1;
    if (state === "failed" || state === "cancelled") continue;
    sum.sent += sent;
    sum.of += size;
  }
  byId("summary").hidden = false;
  byId("count").textContent = countText(queue.uploads.length, count);
  byId("amount").textContent = amountText({ ...sum, active: queue.active });
  show(byId("cancel-all"), queue.active);
  show(byId("retry-all"), !queue.active && retriable > 1);
  byId("more").hidden = unseen === 0 || byId("uploads").classList.contains("all");
  byId("unseen").textContent = `${unseen} more, waiting or stored.`;
  const percent = sum.of > 0 ? Math.floor((100 * sum.sent) / sum.of) : 0;
  document.title = queue.active ? `${percent}% · ${title}` : title;
  // Only while uploads run: with such a handler browsers do not cache the page for Back.
  const listen = queue.active ? addEventListener : removeEventListener;
  listen("beforeunload", confirmLeave);
}

function show(button, visible) {
  if (!visible && button === document.activeElement) byId("total").focus();
  button.hidden = !visible;
}

function confirmLeave(event) {
  event.preventDefault(); // the browser asks whether to leave
  event.returnValue = true; // the same for older browsers
}

function announce() {
  announcing = null;
  const results = [...ended].filter(hasEnded); // some may have been retried
  ended.clear();
  if (results.length > 0) byId("announce").textContent = endText(results);
}

/** Make the missing rows, some at a time: ten thousand at once would freeze the page. */
function makeRows() {
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
  if (rows.size < queue.uploads.length) setTimeout(makeRows);
}

/* Choosing files. */

function add(files) {
  byId("notice").textContent = "";
  queue.add(files);
  makeRows();
}

async function addFrom(transfer) {
  const finding = filesOf(transfer);
  byId("notice").textContent = "Looking for files…";
  const { files, unreadable } = await finding;
  add(files);
  const skipped = unreadable === 1 ? "1 item" : `${unreadable} items`;
  let notice = "";
  if (unreadable > 0) notice = `${skipped} could not be read and will not be sent.`;
  else if (files.length === 0) notice = "No files were found.";
  byId("notice").textContent = notice;
}

function act(what, uploads) {
  queue[what](uploads);
  paintSoon();
}

for (const input of [byId("files"), byId("folder")]) {
  input.onchange = () => {
    add(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
}
byId("show-all").onclick = () => {
  byId("total").focus(); // the button that has the focus disappears
  byId("uploads").classList.add("all");
  paintSoon();
};
byId("cancel-all").onclick = () => act("cancel", queue.uploads);
byId("retry-all").onclick = () =>
  act("retry", queue.uploads.filter((each) => each.state === "failed" && mayRetry(each)));

const hasFiles = (transfer) => transfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event.dataTransfer)) return;
  event.preventDefault(); // allows the drop
  event.dataTransfer.dropEffect = "copy";
  byId("drop").toggleAttribute("data-over", true);
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  // Null only when the pointer leaves the page, not when it enters another element.
  if (!relatedTarget) byId("drop").removeAttribute("data-over");
});
document.addEventListener("drop", (event) => {
  byId("drop").removeAttribute("data-over");
  if (!hasFiles(event.dataTransfer)) return;
  event.preventDefault(); // else the browser opens the file
  addFrom(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  if (hasFiles(event.clipboardData)) addFrom(event.clipboardData);
});

byId("limit").textContent = `Up to ${sizeText(largest)} per file.`;
byId("folder").parentElement.hidden = !("webkitdirectory" in byId("folder"));
byId("drop").hidden = false;
