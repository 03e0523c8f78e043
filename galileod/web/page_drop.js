// Files out of what was dropped or pasted, folders included.

/**
 * The files in a DataTransfer in their order, and how many things in it could not be read. It
 * must be called while the event is handled: afterwards the browser gives nothing out.
 */
export async function filesOf(transfer) {
  const found = { files: [], unreadable: 0 };
  const things = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    things.push(entry?.isDirectory ? entry : item.getAsFile());
  }
  for (const thing of things) {
    if (thing instanceof File) found.files.push(thing);
    else if (thing) await walk(thing, found);
    else found.unreadable += 1;
  }
  return found;
}

async function walk(folder, found) {
  try {
    for (const entry of await entriesOf(folder)) {
      if (entry.isDirectory) await walk(entry, found);
      else await take(entry, found);
    }
  } catch {
    found.unreadable += 1;
  }
}

/** All that is in a folder, by name: the browser's order is the file system's, which is none. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    // They are given out in parts: a hundred at a time in Chromium.
    const some = await new Promise((yes, no) => reader.readEntries(yes, no));
    if (some.length === 0) return entries.sort((one, other) => byName(one.name, other.name));
    entries.push(...some);
  }
}

const byName = new Intl.Collator("en", { numeric: true }).compare;

async function take(entry, found) {
  try {
    const file = await new Promise((yes, no) => entry.file(yes, no));
    // It does not know where it lay, as one does that was chosen with its folder.
    Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.slice(1) });
    found.files.push(file);
  } catch {
    found.unreadable += 1;
  }
}
