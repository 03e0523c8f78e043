// Uploads that an earlier page has begun: they go on when their files are there again.

import { showFolder } from "./page_row.js";
import { sizeText } from "./page_units.js";
import { begunText } from "./page_words.js";

/**
 * The section that lists them. `list()` is a promise of those that no page is sending; `add(files)`
 * sends files, which then continue what was begun; `token()` gives the credential, null while there
 * is none.
 */
export class Unfinished {
  #section;
  #template;
  #list;
  #add;
  #token;
  #rows = new Map(); // what `unfinished` of the client gave → its element
  #busy = new Set(); // those for which a button does its work

  constructor(section, template, { list, add, token }) {
    this.#section = section;
    this.#template = template;
    this.#list = list;
    this.#add = add;
    this.#token = token;
  }

  async show() {
    for (const each of (await this.#list()).sort(byBegin)) {
      const row = this.#rowOf(each);
      this.#rows.set(each, row);
      this.#section.querySelector("ul").append(row);
    }
    this.#section.hidden = this.#rows.size === 0;
  }

  /** The files of these uploads are being sent: what was begun of them is not unfinished any more. */
  match(uploads) {
    for (const { file, folder } of uploads) {
      for (const [each] of this.#rows) {
        if (!each.matches(file, folder)) continue;
        this.#remove(each);
        break; // of several uploads of one file, one goes on
      }
    }
  }

  #rowOf(upload) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const { name, size, sent, folder, handle } = upload;
    const ratio = sent / size;
    row.querySelector(".name").textContent = name;
    row.querySelector(".size").textContent = sizeText(size);
    showFolder(row.querySelector(".folder"), folder);
    say(row, begunText(upload));
    row.querySelector("progress").value = ratio;
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${name}`);
    const buttons = { continue: () => this.#continue(upload), discard: () => this.#discard(upload) };
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${name}`);
      button.onclick = () => this.#once(upload, buttons[button.name]);
    }
    row.querySelector("[name=continue]").hidden = !handle;
    return row;
  }

  /** Do `what` a button is for, and say what it returns; a second click meanwhile does nothing. */
  async #once(upload, what) {
    if (this.#busy.has(upload)) return;
    this.#busy.add(upload);
    const row = this.#rows.get(upload);
    try {
      say(row, (await what()) ?? begunText(upload));
    } finally {
      this.#busy.delete(upload);
    }
  }

  async #continue(upload) {
    const { folder, handle } = upload;
    let file;
    try {
      if (!(await mayRead(handle))) {
        return "The file may not be read. Continue again to permit it, or choose the file again.";
      }
      file = await handle.getFile();
    } catch {
      return "The file is not there any more, or cannot be read.";
    }
    if (!upload.matches(file)) {
      return "The file has changed, so this upload cannot go on. Choose the file to send it anew.";
    }
    if (!(await this.#isUnfinished(upload))) return "This upload goes on, or has ended, in another tab.";
    if (this.#rows.has(upload)) this.#add([{ file, folder, handle }]);
    return null;
  }

  /** Whether no page has gone on with it since it was listed. */
  async #isUnfinished({ name, folder, begun }) {
    const found = await this.#list();
    return found.some((each) => each.name === name && each.folder === folder && each.begun === begun);
  }

  async #discard(upload) {
    const token = this.#token();
    if (token === null) return "Give a token first: only who began the upload may discard it.";
    const isDiscarded = await upload.discard({ token: token || undefined });
    if (!isDiscarded) return "Another tab is sending this file now.";
    this.#remove(upload);
    return null;
  }

  #remove(upload) {
    const row = this.#rows.get(upload);
    if (!row) return; // its file was chosen meanwhile
    const isFocused = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    this.#rows.delete(upload);
    row.remove();
    this.#section.hidden = this.#rows.size === 0;
    if (!isFocused) return;
    const button = next?.querySelector("button:not([hidden])");
    (button ?? document.getElementById("files")).focus();
  }
}

/** Whether the file may be read: the browser may ask the user. */
async function mayRead(handle) {
  const answer = await handle.requestPermission?.({ mode: "read" });
  return answer === "granted" || answer === undefined; // without the method nothing is asked
}

const byBegin = (one, other) => one.begun - other.begun || (one.name < other.name ? -1 : 1);

function say(row, text) {
  row.querySelector(".status").textContent = text;
}
