// The upload page: files that are chosen, dropped or pasted go into the queue, and the list shows
// the state of each. The server puts its limits into the attributes of <body>.

import { unfinished, uploadAll } from "./galileo.js";
import { Announcer } from "./page_announce.js";
import { listen } from "./page_choose.js";
import { Credential } from "./page_credential.js";
import { List } from "./page_list.js";
import { Queue } from "./page_queue.js";
import { Summary } from "./page_total.js";
import { Unfinished } from "./page_unfinished.js";
import { sizeText } from "./page_units.js";
import { moreText } from "./page_words.js";

const PAINT = 250; // ms between two updates of the page
const COUNT_DOWN = 1_000; // ms between two updates while only a time changes

const byId = (id) => document.getElementById(id);
const { dataset } = document.body;
const largest = Number(dataset.maxFileSize);
// Relative to the page, so that a proxy may serve all of it below a path prefix.
const url = new URL(`./${dataset.path.slice(1)}`, document.baseURI);

const auth = dataset.auth.split(" ");
const token = () => (auth.includes("none") ? "" : credential.value);
const queue = new Queue({
  uploadAll,
  url,
  largest,
  onchange,
  onoutage: paintSoon,
  onrefused: () => credential.refused(),
  credential: token,
  renew: (old) => credential.renew(old),
});
const credential = new Credential(byId("credential"), { auth, onchange: () => queue.start() });
const list = new List(byId("uploads"), byId("row"), (upload) => ({
  pause: () => act(() => queue.pause([upload])),
  resume: () => act(() => queue.resume([upload])),
  retry: () => act(() => queue.retry([upload])),
  cancel: () => act(() => queue.cancel([upload])),
}));
const summary = new Summary(queue, {
  retry: () => act(() => queue.retryFailed()),
  clear: () => act(() => list.remove(queue.clear())),
  pause: () => act(() => queue.pause(queue.uploads)),
  resume: () => act(() => queue.resume(queue.uploads)),
  cancel: () => act(() => queue.cancel(queue.uploads)),
  outage: (text) => announcer.say(text),
});
const announcer = new Announcer(byId("announce"));
const begun = new Unfinished(byId("unfinished"), byId("begun"), {
  list: () => unfinished({ url, token: token() || undefined }),
  add,
  token,
});

let painting = null;
let painted = -PAINT;
let counting = null;

function onchange(upload) {
  list.note(upload);
  announcer.note(upload);
  paintSoon();
}

function paintSoon() {
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
  if (queue.outage) counting ??= setTimeout(countDown, COUNT_DOWN);
}

function countDown() {
  counting = null;
  paintSoon();
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

function add(files) {
  if (token() === null) credential.need();
  const added = queue.add(files);
  list.add(added);
  begun.match(added);
}

listen(add);
byId("limit").textContent = `Up to ${sizeText(largest)} per file.`;
byId("drop").hidden = false;
begun.show();
