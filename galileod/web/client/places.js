// Where the server has stored the files of one `uploadAll`, so far as it has said that.

class Places {
  #last = new Map(); // path → the FileUpload that was stored there last

  /** `upload` is stored at `path`, null where that is not known. Returns the one that it replaced. */
  store(upload, path) {
    if (path === null) return undefined;
    const replaced = this.#last.get(path);
    this.#last.set(path, upload);
    return replaced;
  }

  /** `upload` is no more one of the files. */
  remove(upload) {
    const path = upload.receipt?.path;
    if (this.#last.get(path) === upload) this.#last.delete(path);
  }
}
