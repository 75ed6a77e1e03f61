// Hocuspocus as its documentation starts it, on PORT. With DATABASE it keeps documents there, by the
// statements of its own SQLite extension, on the SQLite that Node.js brings along.
// PACKAGE is the release that is started.

import { DatabaseSync } from "node:sqlite";
import { Database } from "@hocuspocus/extension-database";

const { Server } = await import(process.env.PACKAGE ?? "@hocuspocus/server");

function sqlite(path) {
  const database = new DatabaseSync(path);
  database.exec(
    `CREATE TABLE IF NOT EXISTS "documents" (
      "name" varchar(255) NOT NULL, "data" blob NOT NULL, UNIQUE(name))`,
  );
  const select = database.prepare(`SELECT data FROM "documents" WHERE name = ?`);
  const upsert = database.prepare(
    `INSERT INTO "documents" ("name", "data") VALUES (?, ?)
     ON CONFLICT(name) DO UPDATE SET data = excluded.data`,
  );
  return new Database({
    fetch: async ({ documentName }) => select.get(documentName)?.data ?? null,
    store: async ({ documentName, state }) => {
      upsert.run(documentName, state);
    },
  });
}

const server = new Server({
  address: "127.0.0.1",
  port: Number(process.env.PORT),
  quiet: true,
  extensions: process.env.DATABASE ? [sqlite(process.env.DATABASE)] : [],
});
await server.listen();
