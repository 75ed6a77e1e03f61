import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { test } from "node:test";

import { IndexedDbStore, type MemoryClient, type MemoryDocument } from "../src/index.js";
import { device, reads, saved, text } from "./device.js";
import { ScriptedServer } from "./server.js";

const id = "memory";

/** Numbers in [0, 1), the same ones for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A device whose app is killed and started again on the same store. */
class Device {
  client!: MemoryClient;
  document!: MemoryDocument;
  readonly #server: ScriptedServer;
  readonly #name: string;
  #store!: IndexedDbStore;

  constructor(server: ScriptedServer, name: string) {
    this.#server = server;
    this.#name = name;
  }

  async start(): Promise<void> {
    this.#store = await IndexedDbStore.open(this.#name);
    this.client = device(this.#server.url, { store: this.#store });
    this.document = await this.client.open(id);
    this.client.connect();
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.document.close();
    this.#store.close();
  }

  /** Ends in the middle of whatever it was writing and sending. */
  async kill(): Promise<void> {
    this.#store.close();
    await this.stop();
  }

  edit(next: () => number, mark: string): void {
    const content = text(this.document);
    const at = Math.floor(next() * (content.length + 1));
    if (next() < 0.25 && content.length > 0) {
      content.delete(Math.min(at, content.length - 1), 1);
    } else content.insert(at, mark);
  }
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`devices converge over lost networks, acks, refusals and kills (seed ${seed})`, async () => {
    const next = random(seed);
    const server = await ScriptedServer.start();
    const devices = [0, 1, 2].map((number) => new Device(server, `seed ${seed} device ${number}`));
    for (const each of devices) await each.start();
    for (let step = 0; step < 120; step += 1) {
      const each = devices[Math.floor(next() * devices.length)]!;
      const fault = next();
      server.withholdAcks = next() < 0.2;
      server.refuseUpdate = () => (next() < 0.05 ? { code: "unavailable" } : undefined);
      if (fault < 0.03) server.drop();
      else if (fault < 0.05) each.document.retry();
      else if (fault < 0.07) {
        await each.kill();
        await each.start();
      } else each.edit(next, String.fromCharCode(97 + (step % 26)));
      await new Promise(setImmediate);
    }
    server.withholdAcks = false;
    server.refuseUpdate = () => undefined;
    server.drop();
    await Promise.all(devices.map(({ document }) => document.synced.then(() => saved(document))));
    const { text: content } = server.log(id);
    await Promise.all(devices.map(({ document }) => reads(document, content)));
    for (const each of devices) {
      await each.stop();
      await each.start();
      assert.equal(text(each.document).toString(), content);
      assert.equal(each.document.sync.pending, 0);
      await each.stop();
    }
    await server.stop();
  });
}
