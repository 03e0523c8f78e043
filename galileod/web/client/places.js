// Where the server has the files of one `uploadAll`, so far as it has said that.

class Places {
  #at = new Map(); // path → the FileUploads whose file is there: several only if it was there before

  /** The file of `upload` was there before, at `path`, null where that is not known. */
  add(upload, path) {
    if (path === null) return;
    const others = this.#at.get(path) ?? [];
    this.#at.set(path, [...others, upload]);
  }

  /** `upload` is stored at `path`, null where that is not known. Returns those that it replaced. */
  store(upload, path) {
    if (path === null) return [];
    const replaced = this.#at.get(path) ?? [];
    this.#at.set(path, [upload]);
    return replaced;
  }

  /** `upload` is no more one of the files. */
  remove(upload) {
    const path = upload.receipt?.path;
    const others = this.#at.get(path)?.filter((each) => each !== upload) ?? [];
    if (others.length > 0) this.#at.set(path, others);
    else this.#at.delete(path);
  }
}
