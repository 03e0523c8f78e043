// Uploads that an earlier page has begun: they go on when their files are there again.

import { showFolder } from "./page_row.js";
import { folderOf, sizeText } from "./page_units.js";
import { begunText } from "./page_words.js";

/**
 * The section that lists them. `add(files)` sends files, which then continue what was begun;
 * `token()` gives the credential, null while there is none.
 */
export class Unfinished {
  #section;
  #template;
  #add;
  #token;
  #rows = new Map(); // what `unfinished` of the client gave → its element

  constructor(section, template, { add, token }) {
    this.#section = section;
    this.#template = template;
    this.#add = add;
    this.#token = token;
  }

  show(uploads) {
    for (const each of [...uploads].sort(byBegin)) {
      const row = this.#rowOf(each);
      this.#rows.set(each, row);
      this.#section.querySelector("ul").append(row);
    }
    this.#section.hidden = this.#rows.size === 0;
  }

  /** These files are being sent: what was begun of them is not unfinished any more. */
  match(files) {
    for (const file of files) {
      for (const [each] of this.#rows) {
        if (!each.matches(file)) continue;
        this.#remove(each);
        break; // of several uploads of one file, one goes on
      }
    }
  }

  #rowOf(upload) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const { name, size, sent, path, handle } = upload;
    const ratio = sent / size;
    row.querySelector(".name").textContent = name;
    row.querySelector(".size").textContent = sizeText(size);
    showFolder(row.querySelector(".folder"), folderOf(path));
    say(row, begunText(upload));
    row.querySelector("progress").value = ratio;
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${name}`);
    const buttons = { continue: () => this.#continue(upload), discard: () => this.#discard(upload) };
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${name}`);
      button.onclick = buttons[button.name];
    }
    row.querySelector("[name=continue]").hidden = !handle;
    return row;
  }

  async #continue(upload) {
    const { handle } = upload;
    const row = this.#rows.get(upload);
    let file;
    try {
      if (!(await mayRead(handle))) {
        say(row, "The file may not be read. Continue again to permit it, or choose the file again.");
        return;
      }
      file = await handle.getFile();
    } catch {
      say(row, "The file is not there any more, or cannot be read.");
      return;
    }
    if (upload.matches(file)) this.#add([{ file, handle }]);
    else say(row, "The file has changed, so this upload cannot go on. Choose the file to send it anew.");
  }

  async #discard(upload) {
    const token = this.#token();
    const row = this.#rows.get(upload);
    if (token === null) {
      say(row, "Give a token first: only who began the upload may discard it.");
      return;
    }
    for (const button of row.querySelectorAll("button")) button.disabled = true;
    await upload.discard({ token: token || undefined });
    this.#remove(upload);
  }

  #remove(upload) {
    const row = this.#rows.get(upload);
    const isFocused = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    this.#rows.delete(upload);
    row.remove();
    this.#section.hidden = this.#rows.size === 0;
    if (!isFocused) return;
    const button = next?.querySelector("button:not([hidden], [disabled])");
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
