// A tus server, as in its documentation: node tus_server.mjs DIRECTORY PORT
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [directory, port] = process.argv.slice(2);
const datastore = new FileStore({ directory });
new Server({ path: "/files", datastore }).listen({ host: "127.0.0.1", port: Number(port) });
