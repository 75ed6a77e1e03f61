import { MemoError } from "./errors.js";
import { encodeFrame, maxFrames, pack, unpack } from "./frames.js";
import {
  frameTypes,
  maxMessageBytes,
  subprotocol,
  type ClientFrame,
  type HelloBody,
  type ServerFrame,
  type WelcomeBody,
} from "./types.js";

const welcomeLimitMs = 15_000;
/** Frames of one turn share a message up to this size, so that none delays the others for long. */
const messageTargetBytes = 256 * 1024;
const defaultHeartbeatSeconds = 25;

/** Why a connection is no more, and when the server wants the device back, if it said so. */
export interface Loss {
  code: number;
  error: MemoError;
  reconnectAfterMs?: number;
}

/** Whom a connection tells about itself. */
export interface ConnectionOwner {
  welcomed(connection: Connection, welcome: WelcomeBody): void;
  event(name: string, body: unknown): void;
  lost(loss: Loss): void;
}

/** Whom a connection tells about one open document. */
export interface ChannelOwner {
  pushed(offset: number, updates: Uint8Array[]): void;
  acked(clientSeq: number, offset: number): void;
  refused(clientSeq: number, error: MemoError): void;
  /** The server speaks of the channel as a whole: mostly, that it is closed. */
  failed(error: MemoError): void;
  presence(payload: Uint8Array): void;
}

/** Whom a connection tells about one request: parts, then a reply or a refusal. */
export interface Requester {
  replied(body: unknown): void;
  refused(error: MemoError): void;
  part(body: unknown): void;
}

/**
 * One socket, from its hello to its end. It does not reconnect: its owner makes another.
 *
 * The server's heartbeats are WebSocket pings, which a browser answers but does not show. So when
 * nothing has arrived for one heartbeat, the connection asks for `account.me`; when that brings
 * nothing either, 2.2 heartbeats after the last sign of life, it counts as lost.
 */
export class Connection {
  readonly #socket: WebSocket;
  readonly #owner: ConnectionOwner;
  readonly #requests = new Map<number, Requester>();
  readonly #channels = new Map<number, ChannelOwner>();
  readonly #deadline: ReturnType<typeof setTimeout>;
  #outgoing: Uint8Array[] = [];
  #outgoingBytes = 0;
  #nextRequest = 1;
  #heartbeatMs = defaultHeartbeatSeconds * 1000;
  #idle?: ReturnType<typeof setTimeout>;
  #probe?: ReturnType<typeof setTimeout>;
  #refusal?: MemoError;
  #reconnectAfterMs?: number;
  #ended = false;

  /** The largest message, in bytes, that the server takes. */
  maxMessageBytes = maxMessageBytes;

  constructor(
    WebSocketClass: typeof WebSocket,
    url: string,
    hello: HelloBody,
    owner: ConnectionOwner,
  ) {
    this.#owner = owner;
    this.#socket = new WebSocketClass(url, subprotocol);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      this.#socket.send(pack([encodeFrame([frameTypes.hello, hello])]));
    };
    this.#socket.onmessage = (event) => this.#receive(event.data);
    // Says nothing of its own: a close follows every error.
    this.#socket.onerror = () => {};
    this.#socket.onclose = (event) => {
      this.#end(event.code, this.#refusal ?? MemoError.fromClose(event.code, event.reason));
    };
    this.#deadline = setTimeout(() => {
      this.#end(1006, new MemoError("timeout", `no welcome within ${welcomeLimitMs} ms`));
    }, welcomeLimitMs);
  }

  /**
   * Sends a request. Returns the function that withdraws it: the server is told to cancel it and
   * nothing is heard of it again. Throws `MemoError`: `unavailable`, when the connection has
   * ended; `too_large`.
   */
  request(operation: string, body: unknown, requester: Requester): () => void {
    if (this.#ended) throw new MemoError("unavailable", "The connection was lost.");
    const id = this.#nextRequest++;
    this.send([frameTypes.request, id, operation, body]);
    this.#requests.set(id, requester);
    return () => {
      if (this.#requests.delete(id)) this.send([frameTypes.cancel, id]);
    };
  }

  /**
   * Sends a frame with the others of this turn, in one message as far as they fit.
   *
   * Throws `MemoError` `too_large`, when the server would not take it. On a connection that has
   * ended it does nothing: the owner is hearing of that end.
   */
  send(frame: ClientFrame): void {
    if (this.#ended) return;
    const bytes = encodeFrame(frame);
    // The array around the frames takes three bytes at most.
    if (bytes.length + 3 > this.maxMessageBytes) {
      throw new MemoError(
        "too_large",
        `A message of ${bytes.length} bytes is over the server's ${this.maxMessageBytes}.`,
      );
    }
    const target = Math.min(messageTargetBytes, this.maxMessageBytes - 3);
    const full = this.#outgoing.length === maxFrames;
    if (full || this.#outgoingBytes + bytes.length > target) this.#flush();
    if (this.#outgoing.length === 0) queueMicrotask(() => this.#flush());
    this.#outgoing.push(bytes);
    this.#outgoingBytes += bytes.length;
  }

  /** From here on `owner` hears of what the server sends on the channel `number`. */
  attach(number: number, owner: ChannelOwner): void {
    this.#channels.set(number, owner);
  }

  detach(number: number): void {
    this.#channels.delete(number);
  }

  /** Asks for a sign of life; without one within `limitMs` the connection counts as lost. */
  probe(limitMs: number): void {
    if (this.#probe !== undefined || this.#ended) return;
    this.#probe = setTimeout(() => {
      this.#end(1006, new MemoError("timeout", "The server has stopped answering."));
    }, limitMs);
    const ignore = () => {};
    this.request("account.me", {}, { replied: ignore, refused: ignore, part: ignore });
  }

  /** Ends the connection without telling the owner. */
  close(): void {
    this.#flush();
    this.#release(new MemoError("unavailable", "The client was closed."));
    this.#socket.close(1000);
  }

  #flush(): void {
    if (this.#outgoing.length === 0 || this.#ended) return;
    const message = pack(this.#outgoing);
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    this.#socket.send(message);
  }

  #receive(data: unknown): void {
    if (this.#ended) return;
    this.#stir();
    try {
      if (!(data instanceof ArrayBuffer)) throw new MemoError("invalid_message");
      for (const frame of unpack(data)) {
        this.#dispatch(frame);
        if (this.#ended) return;
      }
    } catch (error) {
      this.#end(1006, MemoError.from(error, "invalid_message"));
    }
  }

  #dispatch(frame: ServerFrame): void {
    switch (frame[0]) {
      case frameTypes.welcome:
        this.#welcomed(frame[1]);
        break;
      case frameTypes.reply:
        this.#take(frame[1])?.replied(frame[2]);
        break;
      case frameTypes.part:
        this.#requests.get(frame[1])?.part(frame[2]);
        break;
      case frameTypes.error: {
        const [, id, body] = frame;
        const error = MemoError.fromBody(body);
        if (id !== null) this.#take(id)?.refused(error);
        else if (body.channel === undefined) this.#refusal = error;
        else {
          const channel = this.#channels.get(body.channel);
          if (body.clientSeq === undefined) channel?.failed(error);
          else channel?.refused(body.clientSeq, error);
        }
        break;
      }
      case frameTypes.push:
        this.#channels.get(frame[1])?.pushed(frame[2], frame[3]);
        break;
      case frameTypes.ack:
        this.#channels.get(frame[1])?.acked(frame[2], frame[3]);
        break;
      case frameTypes.awarenessRelay:
        this.#channels.get(frame[1])?.presence(frame[2]);
        break;
      case frameTypes.event:
        this.#owner.event(frame[1], frame[2]);
        break;
      case frameTypes.goodbye:
        this.#reconnectAfterMs = frame[1].reconnectAfterMs;
        break;
    }
  }

  #welcomed(welcome: WelcomeBody): void {
    clearTimeout(this.#deadline);
    this.maxMessageBytes = welcome.maxMessageBytes ?? maxMessageBytes;
    this.#heartbeatMs = (welcome.heartbeatSeconds ?? defaultHeartbeatSeconds) * 1000;
    this.#stir();
    this.#owner.welcomed(this, welcome);
  }

  #take(id: number): Requester | undefined {
    const requester = this.#requests.get(id);
    this.#requests.delete(id);
    return requester;
  }

  /** Something arrived: the wait for a sign of life starts over. */
  #stir(): void {
    clearTimeout(this.#idle);
    clearTimeout(this.#probe);
    this.#probe = undefined;
    this.#idle = setTimeout(() => this.probe(this.#heartbeatMs * 1.2), this.#heartbeatMs);
  }

  #end(code: number, error: MemoError): void {
    if (this.#ended) return;
    this.#release(error);
    this.#socket.close();
    this.#owner.lost({ code, error, reconnectAfterMs: this.#reconnectAfterMs });
  }

  #release(error: MemoError): void {
    this.#ended = true;
    for (const timer of [this.#deadline, this.#idle, this.#probe]) clearTimeout(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    this.#channels.clear();
    for (const requester of requests) requester.refused(error);
  }
}
