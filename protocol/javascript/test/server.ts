import { once } from "node:events";
import type { AddressInfo } from "node:net";

import { decode, encode } from "@msgpack/msgpack";
import { WebSocketServer, type WebSocket } from "ws";
import * as Y from "yjs";

import type {
  ClientFrame,
  ErrorBody,
  OpenDocument,
  OpenedDocument,
  RequestFrame,
} from "../src/types.js";

/** A document's log: every update with the peer that sent it, offsets from 1 on. */
export class Log {
  epoch = "epoch-1";
  canWrite = true;
  readonly channel: number;
  readonly entries: { update: Uint8Array; author?: Peer }[] = [];
  readonly readers = new Set<Peer>();

  constructor(channel: number) {
    this.channel = channel;
  }

  get doc(): Y.Doc {
    const doc = new Y.Doc();
    for (const { update } of this.entries) Y.applyUpdate(doc, update);
    return doc;
  }

  get text(): string {
    return this.doc.getText("content").toString();
  }
}

/** One device's connection, as the server has it. */
export class Peer {
  readonly frames: ClientFrame[] = [];
  /** The frames of each message. */
  readonly messages: ClientFrame[][] = [];
  readonly socket: WebSocket;

  constructor(socket: WebSocket) {
    this.socket = socket;
  }

  send(...frames: unknown[]): void {
    this.socket.send(encode(frames, { ignoreUndefined: true }));
  }

  requests(operation: string): RequestFrame[] {
    return this.frames.filter((frame): frame is RequestFrame => {
      return frame[0] === 1 && frame[2] === operation;
    });
  }

  updates(): Uint8Array[] {
    return this.frames.flatMap((frame) => (frame[0] === 3 ? [frame[3]] : []));
  }
}

/**
 * A server that speaks memo.v1 over real sockets, honestly unless told otherwise.
 *
 * The switches force what a real server does rarely: withheld acks, refusals, silence.
 */
export class ScriptedServer {
  readonly peers: Peer[] = [];
  readonly logs = new Map<string, Log>();
  welcome: Record<string, unknown> = {};
  /** Answers a request in the server's place if it returns something. */
  answer: (request: RequestFrame, peer: Peer) => unknown = () => undefined;
  /** Refuses a hello with this close code. */
  refuseHello: (token: string) => number | undefined = () => undefined;
  /** Refuses an update, which is then not in the log. */
  refuseUpdate: (peer: Peer) => Partial<ErrorBody> | undefined = () => undefined;
  withholdAcks = false;
  withholdPushes = false;
  silent = false;
  readonly #sockets: WebSocketServer;
  #watchers = new Set<() => void>();

  private constructor(sockets: WebSocketServer) {
    this.#sockets = sockets;
    sockets.on("connection", (socket) => this.#welcomed(new Peer(socket)));
  }

  static async start(): Promise<ScriptedServer> {
    const sockets = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    await once(sockets, "listening");
    return new ScriptedServer(sockets);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#sockets.address() as AddressInfo).port}/ws`;
  }

  /** The peer that connected last. */
  get peer(): Peer {
    return this.peers.at(-1)!;
  }

  log(id: string): Log {
    let log = this.logs.get(id);
    if (!log) this.logs.set(id, (log = new Log(this.logs.size + 1)));
    return log;
  }

  /** Commits an update of somebody else. */
  commit(id: string, update: Uint8Array, author?: Peer): number {
    const log = this.log(id);
    log.entries.push({ update, author });
    if (!this.withholdPushes) {
      const push = [20, log.channel, log.entries.length, [update]];
      for (const reader of log.readers) if (reader !== author) reader.send(push);
    }
    return log.entries.length;
  }

  /** Resolves when `condition` holds; it is looked at after each frame. */
  async until(condition: () => boolean): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve) => {
      const look = () => {
        if (!condition()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
    });
  }

  /** The network fails: every connection is gone without a word. */
  drop(): void {
    for (const peer of this.peers) peer.socket.terminate();
    for (const log of this.logs.values()) log.readers.clear();
  }

  async stop(): Promise<void> {
    this.drop();
    this.#sockets.close();
    await once(this.#sockets, "close");
  }

  #welcomed(peer: Peer): void {
    this.peers.push(peer);
    peer.socket.on("message", (data: Buffer) => {
      const frames = decode(data) as ClientFrame[];
      peer.messages.push(frames);
      for (const frame of frames) {
        peer.frames.push(frame);
        if (!this.silent) this.#take(peer, frame);
      }
      for (const look of [...this.#watchers]) look();
    });
    peer.socket.on("close", () => {
      for (const log of this.logs.values()) log.readers.delete(peer);
      for (const look of [...this.#watchers]) look();
    });
  }

  #take(peer: Peer, frame: ClientFrame): void {
    if (frame[0] === 0) this.#greet(peer, frame[1].token);
    else if (frame[0] === 1) this.#reply(peer, frame);
    else if (frame[0] === 3) this.#update(peer, frame[1], frame[2], frame[3]);
    else if (frame[0] === 4) {
      for (const reader of this.#named(frame[1]).readers) {
        if (reader !== peer) reader.send([22, frame[1], frame[2]]);
      }
    }
  }

  #greet(peer: Peer, token: string): void {
    const code = this.refuseHello(token);
    if (code !== undefined) peer.socket.close(code);
    else {
      const expiresAt = new Date(Date.now() + 900_000).toISOString();
      const body = { sessionId: "s", userId: "u", cursor: "c1", expiresAt, ...this.welcome };
      peer.send([16, body]);
    }
  }

  #reply(peer: Peer, request: RequestFrame): void {
    const [, id, operation, body] = request;
    const answer = this.answer(request, peer);
    if (answer !== undefined) peer.send([17, id, answer]);
    else if (operation === "documents.open") peer.send([17, id, this.#open(peer, body)]);
    else if (operation === "documents.close") {
      this.#named((body as { channel: number }).channel).readers.delete(peer);
      peer.send([17, id, {}]);
    } else if (operation === "account.me") peer.send([17, id, { user: {}, permissions: [] }]);
  }

  #open(peer: Peer, body: unknown): OpenedDocument {
    const { memoryId, epoch, offset = 0 } = body as OpenDocument;
    const log = this.log(memoryId);
    log.readers.add(peer);
    const head = log.entries.length;
    const from = epoch === log.epoch && offset <= head ? offset : 0;
    const updates = log.entries.slice(from).map(({ update }) => update);
    const { channel, canWrite } = log;
    return { channel, epoch: log.epoch, offset: head, format: "yjs-v1", updates, canWrite };
  }

  #update(peer: Peer, channel: number, clientSeq: number, update: Uint8Array): void {
    const log = this.#named(channel);
    const refusal = this.refuseUpdate(peer) ?? this.#judge(log, update);
    if (refusal) {
      const body = { code: "internal", message: "refused", channel, clientSeq, ...refusal };
      peer.send([19, null, body]);
      return;
    }
    const before = Y.encodeStateAsUpdate(log.doc);
    log.entries.push({ update });
    const known = Buffer.compare(before, Y.encodeStateAsUpdate(log.doc)) === 0;
    log.entries.pop();
    const [id] = [...this.logs].find(([, each]) => each === log)!;
    const offset = known ? log.entries.length : this.commit(id, update, peer);
    if (!this.withholdAcks) peer.send([21, channel, clientSeq, offset]);
  }

  #judge(log: Log, update: Uint8Array): Partial<ErrorBody> | undefined {
    const doc = log.doc;
    Y.applyUpdate(doc, update);
    const whole = doc.store.pendingStructs === null && doc.store.pendingDs === null;
    return whole ? undefined : { code: "missing_dependency" };
  }

  #named(channel: number): Log {
    return [...this.logs.values()].find((log) => log.channel === channel)!;
  }
}
