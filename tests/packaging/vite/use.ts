// What test_npm.py compiles, with the types of pages and with those of Node.js.

import { GalileoSend, unfinished, upload, uploadAll, UploadError } from "galileo-upload";
import type { Progress, Receipt, UploadOptions } from "galileo-upload";

const file = new File(["x"], "a.txt");
const options: UploadOptions = { url: new URL("ws://127.0.0.1/upload"), file, hash: "sha1", resume: true };
const sending = upload(options);
for await (const progress of sending) {
  const { ratio, rate }: Progress = progress;
  console.log(ratio, rate);
}
const { name, size, hash }: Receipt = await sending;
console.log(name, size, hash?.value);
try {
  await upload({ url: "/upload", file: new Blob([]), name: "b" }).done;
} catch (error) {
  if (error instanceof UploadError) console.log(error.code, error.signals.length);
}
for await (const each of uploadAll({ url: "/upload", files: [file, { file, hash: "blake2b" }] })) {
  console.log(each.state, each.error?.reason, each.receipt?.path);
}
for (const each of await unfinished({ url: "/upload" })) await each.discard();
GalileoSend({ url: "/upload", file, onchunk: (ratio) => console.log(ratio.toFixed(2)) }).abort();
// @ts-expect-error: no file
upload({ url: "/upload" });
// @ts-expect-error: no such hash
upload({ url: "/upload", file, hash: "md5" });
