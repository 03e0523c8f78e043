// The ways in which files are chosen: the dialogs of the browser, a drop, a paste.

import { filesOf } from "./page_drop.js";
import { someText } from "./page_words.js";

const byId = (id) => document.getElementById(id);

/** From now on `add(files)` is called with what is chosen. */
export function listen(add) {
  for (const input of [byId("files"), byId("folder")]) {
    input.onchange = () => {
      take(input.files);
      input.value = ""; // so that the same file can be chosen again
    };
  }
  byId("folder").parentElement.hidden = !("webkitdirectory" in byId("folder"));
  listenForDrops(takeFrom);
  document.addEventListener("paste", (event) => {
    if (hasFiles(event.clipboardData)) takeFrom(event.clipboardData);
  });

  function take(files) {
    byId("notice").textContent = "";
    add(files);
  }

  async function takeFrom(transfer) {
    const finding = filesOf(transfer);
    byId("notice").textContent = "Looking for files…";
    const { files, unreadable } = await finding;
    take(files);
    const skipped = `${someText(unreadable, "item")} could not be read and will not be sent.`;
    if (unreadable > 0) byId("notice").textContent = skipped;
    else if (files.length === 0) byId("notice").textContent = "No files were found.";
  }
}

const hasFiles = (transfer) => transfer?.types.includes("Files");

function listenForDrops(take) {
  const zone = byId("drop");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    event.preventDefault(); // allows the drop
    event.dataTransfer.dropEffect = "copy";
    zone.toggleAttribute("data-over", true);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    // Null only when the pointer leaves the page, not when it enters another element.
    if (!relatedTarget) zone.removeAttribute("data-over");
  });
  document.addEventListener("drop", (event) => {
    zone.removeAttribute("data-over");
    if (!hasFiles(event.dataTransfer)) return;
    event.preventDefault(); // else the browser opens the file
    take(event.dataTransfer);
  });
}
