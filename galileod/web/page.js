// The upload page: files that are chosen, dropped or pasted go into the queue, and the list shows
// the state of each. The server puts its limits into the attributes of <body>.

import { uploadAll } from "./galileo.js";
import { Announcer } from "./page_announce.js";
import { listen } from "./page_choose.js";
import { Credential } from "./page_credential.js";
import { List } from "./page_list.js";
import { Queue } from "./page_queue.js";
import { Summary } from "./page_total.js";
import { moreText, sizeText } from "./page_words.js";

const PAINT = 250; // ms between two updates of the page

const byId = (id) => document.getElementById(id);
const { dataset } = document.body;
const largest = Number(dataset.maxFileSize);
// Relative to the page, so that a proxy may serve all of it below a path prefix.
const url = new URL(`./${dataset.path.slice(1)}`, document.baseURI);

const auth = dataset.auth.split(" ");
const queue = new Queue({
  uploadAll,
  url,
  largest,
  onchange,
  onrefused: (used) => credential.refused(used),
  credential: () => (auth.includes("none") ? "" : credential.value),
});
const credential = new Credential(byId("credential"), { auth, onchange: () => queue.start() });
const list = new List(byId("uploads"), byId("row"), (upload) => ({
  oncancel: () => act(() => queue.cancel([upload])),
  onretry: () => act(() => queue.retry([upload])),
}));
const summary = new Summary(queue, {
  retry: () => act(() => queue.retryFailed()),
  clear: () => act(() => list.remove(queue.clear())),
  cancel: () => act(() => queue.cancel(queue.uploads)),
});
const announcer = new Announcer(byId("announce"));

let painting = null;
let painted = -PAINT;

function onchange(upload) {
  list.note(upload);
  announcer.note(upload);
  painting ??= setTimeout(paint, Math.max(0, painted + PAINT - performance.now()));
}

function paint() {
  painting = null;
  painted = performance.now();
  list.paint();
  summary.paint();
  const { unseen } = list;
  byId("more").hidden = unseen === 0;
  byId("unseen").textContent = moreText(unseen);
}

/** Do what a button is for, and show the effect at once. */
function act(what) {
  what();
  clearTimeout(painting);
  painting = setTimeout(paint);
}

byId("show-all").onclick = () => {
  byId("total").focus(); // the button that has the focus disappears
  act(() => list.showAll());
};
listen((files) => list.add(queue.add(files)));
byId("limit").textContent = `Up to ${sizeText(largest)} per file.`;
byId("drop").hidden = false;
