// The files in a drop or a paste, including those in folders, and those that are picked.

/**
 * The files in a DataTransfer, in order, and how many items in it could not be read. Where the
 * browser has handles of files, an object {file, handle} stands for a file. Must be called while the
 * event is handled: afterwards the DataTransfer is empty.
 */
export async function filesOf(transfer) {
  const found = { files: [], unreadable: 0 };
  const items = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) items.push({ folder: entry });
    else items.push({ file: item.getAsFile(), handle: handleOf(item) });
  }
  for (const { folder, file, handle } of items) {
    if (folder) await walk(folder, found);
    else if (file) found.files.push(withHandle(file, await handle));
    else found.unreadable += 1;
  }
  return found;
}

/** A promise of the handle of a file, or of null where there is none. */
async function handleOf(item) {
  try {
    return (await item.getAsFileSystemHandle?.()) ?? null;
  } catch {
    return null; // such as for a file that was made by a script
  }
}

const withHandle = (file, handle) => (handle ? { file, handle } : file);

/** The files that the user chooses in the browser's dialog, and how many could not be read. */
export async function pick() {
  const found = { files: [], unreadable: 0 };
  for (const handle of await showOpenFilePicker({ multiple: true })) {
    try {
      found.files.push({ file: await handle.getFile(), handle });
    } catch {
      found.unreadable += 1;
    }
  }
  return found;
}

async function walk(folder, found) {
  try {
    for (const entry of await entriesOf(folder)) {
      if (entry.isDirectory) await walk(entry, found);
      else await addFile(entry, found);
    }
  } catch {
    found.unreadable += 1;
  }
}

/** The files of an input, those of a folder sorted by path. */
export const chosenIn = ({ files }) =>
  [...files].sort((one, other) => byName(one.webkitRelativePath, other.webkitRelativePath));

/** The entries of a folder, sorted by name: the browser gives them in no particular order. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    // Each call gives some of them: at most a hundred in Chromium.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return entries.sort((one, other) => byName(one.name, other.name));
    entries.push(...some);
  }
}

const byName = new Intl.Collator("en", { numeric: true }).compare;

async function addFile(entry, found) {
  try {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    // Set as for a folder that was chosen with the file picker; for dropped files it is empty.
    Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.slice(1) });
    found.files.push(file);
  } catch {
    found.unreadable += 1;
  }
}
