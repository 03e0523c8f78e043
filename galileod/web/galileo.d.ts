// Where the types of pages are not there, as in a program for Node.js.
declare global {
  interface FileSystemFileHandle {}
}

/** An error signal of the server, or one that the client made. */
export interface ErrorSignal {
  /** By convention a sentence in plain language. */
  error: unknown;
  fatal?: boolean;
  /**
   * The kind of error. Those of the client are `aborted`, `bad_message`, `closed_early`,
   * `connection_failed`, `connection_lost`, `file_changed`, `file_unreadable`,
   * `hash_unavailable` and `timeout`. The server has more: see its documentation.
   */
  code?: string;
  [key: string]: unknown;
}

export type HashType = "sha1" | "sha256" | "sha512" | "blake2b";

/** A token or a ticket; nothing if there is none. */
export type Token = string | undefined | null;

/** What concerns one file. */
export interface FileOptions {
  file: File | Blob;
  /** The name to store under; required for a Blob. Default: the name of the File. */
  name?: string;
  /**
   * The folder below which to store it, parts between "/"; "" for none. Default: that in which the
   * file stood (`webkitRelativePath`); of `GalileoSend`: none.
   */
  folder?: string;
  /** Bytes in a chunk if the server names no size. Default 250,000, at most 16 MiB. */
  chunksize?: number;
  /**
   * Default "sha1". If the page cannot compute the default, no hash is sent. If it cannot compute
   * a hash that is set here, the upload fails with the code `hash_unavailable`.
   */
  hash?: HashType | "none";
  /**
   * A token or a ticket, if the server requires one. It is sent in the metadata as "token".
   *
   * A function that gives strings is called for each file when its metadata is sent. If it gives a
   * promise, the token of that is used for all files with the same function. It is called again, with
   * `old`, if the server answers `unauthorized` to the token `old`, or if that is a ticket (a JSON Web
   * Token) that expires within 30 seconds. Then the file goes on with what it gives; if that is nothing
   * or `old`, a file that was refused fails. A file may be refused three times in a row. One promise is
   * waited for at a time; while it is rejected, it is called up to five times, with waits.
   */
  token?: Token | ((file: File | Blob, old?: string) => Token | Promise<Token>);
  /** The same as `token`. */
  ticket?: FileOptions["token"];
  /** The handle of the file, which is remembered with `resume`: see `unfinished`. */
  handle?: FileSystemFileHandle | null;
}

/** An attempt that has failed, before the next one. */
export interface Retry {
  /** How many attempts in a row have failed without anything getting through, from 1. */
  attempt: number;
  /** Until the next attempt; it comes at once if the browser says that it is online again. */
  seconds: number;
  error: { code: string; reason: unknown };
}

/** When and how an upload goes on after its connection was lost. */
export interface RetryOptions {
  /**
   * Attempts in a row that may fail without anything getting through: an integer of at least 0, or
   * Infinity. Default 7, which takes 20 to 45 seconds; 3 while the server has never accepted a
   * connection.
   */
  retries?: number;
  /** Called before each wait. */
  onretry?: (retry: Retry) => void;
  /**
   * Remember the upload in IndexedDB, so that a page that is loaded later goes on with it if the
   * same file is given again: same name, size, and time of modification. Only for Files of at least
   * 1 MiB. Default false.
   */
  resume?: boolean;
}

/** What concerns the connection to the server. */
export interface ServerOptions {
  /** The URL of the server: ws:, wss:, http: or https:, or relative to the page. */
  url: string | URL;
  /** Cancels the upload. */
  signal?: AbortSignal;
  /**
   * Milliseconds without any activity after which the connection is given up. Default 60,000. If the
   * server continues uploads, 10 to 60 seconds of it are enough.
   */
  timeout?: number;
  /**
   * The URL of hash_worker.js, with vendor/ beside it; default: beside this script. `false`: read
   * and hash on the page's thread.
   */
  worker?: string | URL | false;
}

/** What both `upload` and `GalileoSend` take. */
export interface TransferOptions extends ServerOptions, FileOptions {
  /** Called for each error signal of the server. */
  onerror?: (signal: ErrorSignal) => void;
}

export interface Progress {
  /** Bytes that have left the browser. */
  sent: number;
  size: number;
  /** 0 to 1. */
  ratio: number;
  /** Bytes a second, over the last three seconds. */
  rate: number;
}

export interface Receipt {
  /**
   * "skipped": the server had the file already, and it was not sent; "replaced": the file was stored or
   * there, and a later file of the same `uploadAll` was then stored in its place.
   */
  outcome: "stored" | "skipped" | "replaced";
  /** The name of the stored file, if the server reports it; else the name that was sent. */
  name: string;
  /** Where the file is stored below the server's directory, if the server reports it; else null. */
  path: string | null;
  size: number;
  /** The hash that was sent for comparison; null if none was, or the file was not sent. */
  hash: { type: HashType; value: string } | null;
  seconds: number;
}

export interface UploadOptions extends TransferOptions, RetryOptions {
  /** Called five times a second, and at the end of a successful upload. */
  onprogress?: (progress: Progress) => void;
}

/**
 * A promise of the receipt, and an async iterator of the progress. The iterator yields the latest
 * progress only, ends with the upload, and throws UploadError if the upload failed. Leaving the
 * loop early does not cancel the upload.
 */
export interface Upload extends PromiseLike<Receipt>, AsyncIterable<Progress> {
  /**
   * Ends the upload with the error code `aborted`, and lets the server discard what it has; does
   * nothing after its end.
   */
  abort(): void;
  /**
   * Stops sending. A server that continues uploads keeps what it has; at another one the file begins
   * anew with `resume`. A file that is sent to its last byte is not stopped.
   */
  pause(): void;
  resume(): void;
  readonly done: Promise<Receipt>;
  catch: Promise<Receipt>["catch"];
  finally: Promise<Receipt>["finally"];
}

/** An upload that did not succeed. */
export class UploadError extends Error {
  /** Every error signal, never empty; the last one is the reason. */
  readonly signals: ErrorSignal[];
  /** The code of the last signal; "error" if it has none. */
  readonly code: string;
  /** The sentence of the last signal. */
  readonly reason: string;
}

/** Upload one file. Throws TypeError for invalid options; other failures reject the promise. */
export function upload(options: UploadOptions): Upload;

export interface UploadAllOptions
  extends ServerOptions, RetryOptions, Omit<FileOptions, "file" | "name" | "handle"> {
  /** Files, or objects with options for one file; more can be added later. */
  files?: Iterable<File | FileOptions>;
  /** Connections at once: an integer from 1 to 16. Default 3. */
  connections?: number;
  /**
   * true or "modified": the server is asked first which files it has at the same place, with the same
   * size and time of modification, and those are not sent. It answers if it supports the extension
   * `ask`, by default to authenticated users; else all files are sent. Default false.
   */
  skipExisting?: boolean | "modified";
  /** Bytes; a larger file fails with the code `too_large`, and is not sent. */
  maxSize?: number;
  /** Called after each change of a file, and five times a second for each that is being sent. */
  onfile?: (file: FileUpload) => void;
  /** Called for each error signal of the server about a file. */
  onerror?: (signal: ErrorSignal, file: FileUpload) => void;
}

/** One file of `uploadAll`. The fields change until it has ended. */
export interface FileUpload {
  readonly file: File | Blob;
  readonly name: string;
  /** As it is sent; "" for none. An upload that goes on has that of its beginning. */
  readonly folder: string;
  readonly size: number;
  /**
   * "sending": a connection has taken it. "checking": all bytes have left the browser.
   * "interrupted": its connection was lost, and it goes on by itself; "paused": by `pause`. The
   * other five are ends. "skipped": with `skipExisting`, the server has the file already. "replaced"
   * follows on "stored" if a later file was stored in its place. "cancelled" is a failure with the
   * code `aborted`.
   */
  readonly state:
    | "waiting"
    | "sending"
    | "checking"
    | "interrupted"
    | "paused"
    | "stored"
    | "skipped"
    | "replaced"
    | "failed"
    | "cancelled";
  /** Bytes that have left the browser. */
  readonly sent: number;
  /** Bytes a second, over the last three seconds. */
  readonly rate: number;
  /** Of a file that is stored, skipped or replaced. */
  readonly receipt: Receipt | null;
  /** Of a failed or cancelled file. */
  readonly error: UploadError | null;
  /** Whether the server may have stored a failed or cancelled file: its answer did not arrive. */
  readonly mayBeStored: boolean;
  /** Cancels this file, of which the server discards what it has; does nothing after its end. */
  abort(): void;
  pause(): void;
  resume(): void;
}

/** Of all files that have not failed, and were not cancelled, skipped or replaced. */
export interface TotalProgress {
  /** Bytes that have left the browser. */
  sent: number;
  size: number;
  /** 0 to 1, of bytes and files: a file counts like 128 KiB more than it has. */
  ratio: number;
  /** Bytes a second, over the last half minute. */
  rate: number;
  files: number;
  /** How many are stored. */
  filesEnded: number;
  /** From the bytes and files of the last half minute; null where it is not known. */
  secondsLeft: number | null;
}

/** An async iterator of the files, each once it has ended; it ends when all have. */
export interface Uploads extends AsyncIterable<FileUpload> {
  /** All files that were added, in this order. */
  readonly files: readonly FileUpload[];
  /**
   * A promise of the result of each file, in the order of `files`, once all have ended. It is never
   * rejected. After files were added or retried, it is another promise.
   */
  readonly done: Promise<(Receipt | UploadError)[]>;
  /** Whether any file has not ended; paused ones have not. */
  readonly active: boolean;
  /**
   * Null, or the failure after which no connection could be made: `attempt` as of Retry; `at`, when
   * the next one comes, as of `performance.now()`, null while it is being made; `wasConnected`, whether
   * the server has ever accepted a connection.
   */
  readonly outage: {
    attempt: number;
    at: number | null;
    error: Retry["error"];
    wasConnected: boolean;
  } | null;
  readonly progress: TotalProgress;
  /** Adds files. Throws TypeError, and adds none, if one is invalid. */
  add(files: Iterable<File | FileOptions>): FileUpload[];
  /** Sends failed and cancelled files again, before those that wait. */
  retry(files: Iterable<FileUpload>): void;
  /** Cancels these files; by default all. */
  abort(files?: Iterable<FileUpload>): void;
  /** Removes those that have ended from `files` and the total; by default all of them. */
  clear(files?: Iterable<FileUpload>): void;
  /**
   * Stops sending these files; by default all that were added. A server that continues uploads keeps
   * what it has. A file that is sent to its last byte is not stopped.
   */
  pause(files?: Iterable<FileUpload>): void;
  /** Goes on with those of these files that are paused; by default all. */
  resume(files?: Iterable<FileUpload>): void;
  /** Begins no further file until `release` is called; what is being sent goes on. */
  hold(): void;
  release(): void;
}

/** An upload that an earlier page has begun with `resume`, and that has not ended. */
export interface Unfinished {
  readonly name: string;
  readonly size: number;
  /** As File.lastModified. */
  readonly modified: number;
  /** Bytes, as the browser last noted. The server may have more, or somewhat less. */
  readonly sent: number;
  /** When it began: milliseconds since 1970. */
  readonly begun: number;
  /** As it is sent; "" for none. */
  readonly folder: string;
  /** The handle that was given with the file, or null. */
  readonly handle: FileSystemFileHandle | null;
  /**
   * Whether this is its file: then a new upload of it, with `resume`, goes on with this one. `folder`
   * is as of FileOptions; a file without one also matches where it was begun with one.
   */
  matches(file: File, folder?: string): boolean;
  /**
   * Forgets the upload, and lets the server discard what it has. While the server cannot be reached
   * that is tried again, for two minutes, and by each later call of `unfinished`. The promise is of
   * false, and nothing is done, if a page is sending the file meanwhile.
   */
  discard(options?: { token?: string }): Promise<boolean>;
}

/**
 * The unfinished uploads to this server that no page is sending now. `token` is for those that the
 * server could not be told to discard.
 */
export function unfinished(options: { url: string | URL; token?: string }): Promise<Unfinished[]>;

/**
 * Upload many files, on a few connections: each sends one file after the other, if the server
 * supports that (the extension `next`), else one. Throws TypeError for invalid options.
 */
export function uploadAll(options: UploadAllOptions): Uploads;

export interface GalileoSendOptions extends TransferOptions {
  /** Called after each chunk with the ratio sent, 0 to 1. */
  onchunk?: (ratio: number) => void;
  onsuccess?: () => void;
  /** Called with every error signal, at least one. Either this or `onsuccess` is called, once. */
  onfailure?: (signals: ErrorSignal[]) => void;
  /** Called last, when the connection is closed. */
  onclose?: () => void;
}

/** The interface of the original client. */
export function GalileoSend(options: GalileoSendOptions): {
  abort(): void;
  readonly done: Promise<Receipt>;
};
