// A tus server that stores into a bucket, as in its documentation: node server.mjs PORT ENDPOINT BUCKET
// The credentials are those of the environment.
import { S3Store } from "@tus/s3-store";
import { Server } from "@tus/server";

const [port, endpoint, bucket] = process.argv.slice(2);
const s3ClientConfig = {
  bucket,
  endpoint,
  region: "us-east-1",
  forcePathStyle: true,
  // Ceph does not know the checksums that newer clients send by themselves.
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
};
const datastore = new S3Store({ s3ClientConfig });
new Server({ path: "/files", datastore }).listen({ host: "127.0.0.1", port: Number(port) });
