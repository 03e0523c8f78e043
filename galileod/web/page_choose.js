// The ways in which files are chosen: the dialogs of the browser, a drop, a paste.

import { chosenIn, filesOf, pick } from "./page_drop.js";
import { someText } from "./page_units.js";

const byId = (id) => document.getElementById(id);

/** From now on `add(files)` is called with what is chosen: Files, or objects {file, handle}. */
export function listen(add) {
  for (const input of [byId("files"), byId("folder")]) {
    input.onchange = () => {
      take({ files: chosenIn(input), unreadable: 0 });
      input.value = ""; // so that the same file can be chosen again
    };
  }
  byId("folder").parentElement.hidden = !("webkitdirectory" in byId("folder"));
  // With a handle, an upload can be continued after the page was reloaded.
  if ("showOpenFilePicker" in globalThis) usePicker(byId("files"), take);
  listenForDrops(takeFrom);
  document.addEventListener("paste", (event) => {
    if (hasFiles(event.clipboardData)) takeFrom(event.clipboardData);
  });

  async function takeFrom(transfer) {
    const finding = filesOf(transfer);
    byId("notice").textContent = "Looking for files…";
    take(await finding);
  }

  function take({ files, unreadable }) {
    const skipped = `${someText(unreadable, "item")} could not be read and will not be sent.`;
    const none = files.length === 0 ? "No files were found." : "";
    byId("notice").textContent = unreadable > 0 ? skipped : none;
    add(files);
  }
}

/** Open the dialog that gives handles instead of that of `input`. */
function usePicker(input, take) {
  input.onclick = async (event) => {
    event.preventDefault();
    let found;
    try {
      found = await pick();
    } catch (error) {
      if (error.name === "AbortError") return; // the user cancelled it
      input.onclick = null; // the browser does not permit it here
      setTimeout(() => input.click()); // not within the event, where it has no effect
      return;
    }
    take(found);
  };
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
