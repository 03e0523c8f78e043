/** A signal of the server that reports an error, or one of our own where the server said nothing. */
export interface ErrorSignal {
  /** A sentence for a person, where the server keeps to the custom. */
  error: unknown;
  fatal?: boolean;
  /**
   * The kind of fault. The client's own are `aborted`, `bad_message`, `closed_early`,
   * `connection_failed`, `connection_lost`, `file_changed`, `file_unreadable`,
   * `hash_unavailable` and `timeout`.
   */
  code?: string;
  [key: string]: unknown;
}

export type HashType = "sha1" | "sha256" | "sha512" | "blake2b";

/** What both `upload` and `GalileoSend` take. */
export interface TransferOptions {
  /** Where to: ws:, wss:, http: or https:, or relative to the page. */
  url: string | URL;
  file: File | Blob;
  /** The name to store under; needed for a Blob, which has none. */
  name?: string;
  /** Bytes in a chunk where the server names no size. Default 250,000, at most 16 MiB. */
  chunksize?: number;
  /**
   * Default "sha1", which is left out where the page has no means to compute it; one that is
   * asked for here is never left out.
   */
  hash?: HashType | "none";
  /** A token or a ticket, for a server that asks for one. It goes into the metadata as "token". */
  token?: string;
  /** The same as `token`. */
  ticket?: string;
  /** Cancels the upload. */
  signal?: AbortSignal;
  /** Milliseconds without any sign of life before the upload fails. Default 60,000. */
  timeout?: number;
  /**
   * Where hash_worker.js is, with vendor/ beside it; default beside this script. `false`: read
   * and hash on the page's own thread.
   */
  worker?: string | URL | false;
  /** Called for each error signal of the server, as it comes. */
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
  /** The name under which the file stands where the server tells it, else the name sent. */
  name: string;
  size: number;
  /** The hash that the server was given to compare, or null where there was none. */
  hash: { type: HashType; value: string } | null;
  seconds: number;
}

export interface UploadOptions extends TransferOptions {
  /** Called five times a second, and at the end of a successful upload. */
  onprogress?: (progress: Progress) => void;
}

/**
 * A promise of the receipt, and an async iterator of the progress. The iterator gives the latest
 * progress only, ends with the upload, and throws the UploadError of one that failed. To leave
 * the loop early does not cancel the upload.
 */
export interface Upload extends PromiseLike<Receipt>, AsyncIterable<Progress> {
  /** Ends the upload as a failure with the code `aborted`; does nothing after its end. */
  abort(): void;
  readonly done: Promise<Receipt>;
  catch: Promise<Receipt>["catch"];
  finally: Promise<Receipt>["finally"];
}

/** An upload that did not succeed. */
export class UploadError extends Error {
  /** Every error signal, never empty; the last one is why it ended. */
  readonly signals: ErrorSignal[];
  /** That of the last signal; `error` where it has none. */
  readonly code: string;
  /** The sentence of the last signal. */
  readonly reason: string;
}

/** Upload one file. Throws TypeError for wrong options; all else is told by the promise. */
export function upload(options: UploadOptions): Upload;

export interface GalileoSendOptions extends TransferOptions {
  /** Called after each chunk with the ratio sent, 0 to 1. */
  onchunk?: (ratio: number) => void;
  onsuccess?: () => void;
  /** Called with every error signal, at least one. Of this and `onsuccess` one is called, once. */
  onfailure?: (signals: ErrorSignal[]) => void;
  /** Called last, when the connection is closed. */
  onclose?: () => void;
}

/** The interface of the original client. */
export function GalileoSend(options: GalileoSendOptions): {
  abort(): void;
  readonly done: Promise<Receipt>;
};
