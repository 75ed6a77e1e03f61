import { Backoff } from "./backoff.js";
import { Call } from "./call.js";
import type { ChannelOwner, Connection } from "./connection.js";
import { MemoError } from "./errors.js";
import type { Journal } from "./journal.js";
import type { Edit, Outbox } from "./outbox.js";
import type { Position } from "./position.js";
import { frameTypes, type OpenedDocument } from "./types.js";

const format = "yjs-v1";
/** Offsets known beyond a hole before the document is opened again to close it. */
const maxAhead = 256;
/** How often in a row updates may fail and be tried again before that counts as a refusal. */
const maxReopens = 5;

/** The document that a channel serves. */
export interface ChannelHost {
  readonly memoryId: string;
  /** Puts others' updates into the document. Returns whether they are in it now. */
  apply(updates: Uint8Array[]): boolean;
  /** The whole document as one update. */
  encode(): Uint8Array;
  /** Puts into the outbox what others have left in the store. */
  adopt(): Promise<void>;
  presence(payload: Uint8Array): void;
  opened(): void;
  /** It is no longer open at the server. */
  left(): void;
  refused(error: MemoError): void;
  /** Something of what the channel tells about itself is different. */
  changed(): void;
}

/**
 * A document's way to the server and back: opens it on each connection, sends what is in the
 * outbox, takes what is pushed, and keeps the position.
 */
export class Channel implements ChannelOwner {
  /** Whether the server lets this account edit. */
  canWrite = true;
  /** Why the server does not take this device's edits, or not give it the document. */
  refusal?: MemoError;

  readonly #host: ChannelHost;
  readonly #outbox: Outbox;
  readonly #position: Position;
  readonly #journal: Journal;
  readonly #backoff = new Backoff(500, 30_000);
  #connection?: Connection;
  #number?: number;
  /** Counts the attempts to open; answers to earlier ones are let go. */
  #turn = 0;
  #retry?: ReturnType<typeof setTimeout>;
  #reopens = 0;
  #wholeWanted = false;

  constructor(host: ChannelHost, outbox: Outbox, position: Position, journal: Journal) {
    this.#host = host;
    this.#outbox = outbox;
    this.#position = position;
    this.#journal = journal;
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** Whether the document is open at the server. */
  get isOpen(): boolean {
    return this.#number !== undefined;
  }

  attach(connection: Connection): void {
    this.#connection = connection;
    this.#backoff.reset();
    this.retry();
  }

  detach(): void {
    this.#leave();
    this.#connection = undefined;
    this.#host.changed();
  }

  /** Tells the server that the document is no longer wanted here. */
  close(): void {
    if (this.#connection && this.#number !== undefined) {
      const body = { channel: this.#number };
      new Call("documents.close", body, {}, () => {}).send(this.#connection);
    }
    this.detach();
  }

  /** Tries again what was refused. */
  retry(): void {
    this.refusal = undefined;
    this.#reopens = 0;
    this.#open();
  }

  /** The account may edit from now on, or not: opened again, its edits go out or stay. */
  granted(canWrite: boolean): void {
    if (this.isOpen && canWrite !== this.canWrite) this.retry();
  }

  /** Sends what waits in the outbox, as far as the server's acks keep up. */
  pump(): void {
    const connection = this.#connection;
    if (!connection || this.#number === undefined || this.refusal) return;
    if (!this.canWrite) {
      if (this.#outbox.size > 0) this.refuse(new MemoError("forbidden"));
      return;
    }
    for (let flight = this.#outbox.next(); flight; flight = this.#outbox.next()) {
      const { clientSeq, update } = flight;
      try {
        connection.send([frameTypes.update, this.#number, clientSeq, update]);
      } catch (error) {
        this.refuse(MemoError.from(error, "too_large"));
        return;
      }
    }
  }

  sendPresence(payload: Uint8Array): void {
    if (this.#number === undefined) return;
    this.#connection?.send([frameTypes.awareness, this.#number, payload]);
  }

  /** The edits stay here and in the store; nothing is sent until `retry` or a new connection. */
  refuse(error: MemoError): void {
    this.refusal = error;
    this.#outbox.rewind();
    this.#host.changed();
    this.#host.refused(error);
  }

  pushed(offset: number, updates: Uint8Array[]): void {
    // Told again: a push may repeat what the answer to opening had.
    if (offset + updates.length - 1 <= this.#position.offset) return;
    if (!this.#host.apply(updates)) return;
    this.#position.cover(offset, updates.length);
    this.#journal.received(updates);
    this.#closeHole();
  }

  acked(clientSeq: number, offset: number): void {
    const flight = this.#outbox.land(clientSeq);
    if (!flight) return;
    this.#reopens = 0;
    // An update that changed nothing is acked at the head, which may be another's update whose
    // push is still to come. To take that for ours would be to miss it.
    if (flight.novel) this.#position.cover(offset);
    this.#journal.acked(flight.edits);
    this.pump();
    this.#host.changed();
    this.#closeHole();
  }

  refused(clientSeq: number, error: MemoError): void {
    const flight = this.#outbox.find(clientSeq);
    if (!flight) return;
    this.#reopens += 1;
    const whole = flight.edits.some((edit) => edit.whole);
    if (error.code === "missing_dependency" && !whole) {
      this.#wholeWanted = true;
      this.#open();
    } else if (this.#reopens > maxReopens) this.refuse(error);
    else if (error.code === "channel_closed") this.#open();
    else if (error.temporary) this.#openLater(error);
    else this.refuse(error);
  }

  failed(error: MemoError): void {
    // Presence the server could not read is not worth an error here: it will be told again.
    if (error.code === "malformed_awareness") return;
    if (error.temporary || error.code === "channel_closed") this.#openLater(error);
    else {
      this.#leave();
      this.refuse(error);
    }
  }

  presence(payload: Uint8Array): void {
    this.#host.presence(payload);
  }

  #open(): void {
    this.#leave();
    this.#host.changed();
    if (this.#connection) void this.#ask(this.#connection, this.#turn);
  }

  #openLater(error: MemoError): void {
    this.#leave();
    this.#host.changed();
    const delay = Math.max((error.retryAfter ?? 0) * 1000, this.#backoff.next());
    this.#retry = setTimeout(() => this.#open(), delay);
  }

  /** The number is no longer used; what was sent on it and not acked waits again. */
  #leave(): void {
    clearTimeout(this.#retry);
    this.#turn += 1;
    if (this.#number !== undefined) this.#connection?.detach(this.#number);
    this.#number = undefined;
    this.#outbox.rewind();
    this.#host.left();
  }

  async #ask(connection: Connection, turn: number): Promise<void> {
    await this.#host.adopt();
    if (turn !== this.#turn) return;
    const { epoch, offset } = this.#position;
    const body = { memoryId: this.#host.memoryId, epoch, offset };
    new Call("documents.open", body, {}, (error, answer) => {
      if (turn !== this.#turn) return;
      if (answer) this.#opened(connection, answer);
      else if (error?.temporary) this.#openLater(error);
      else if (error) this.refuse(error);
    }).send(connection);
  }

  #opened(connection: Connection, answer: OpenedDocument): void {
    if (answer.format !== format) {
      this.refuse(new MemoError("invalid_message", `unknown document format ${answer.format}`));
      return;
    }
    const content = answer.snapshot ? [answer.snapshot, ...answer.updates] : answer.updates;
    if (!this.#host.apply(content)) return;
    const { epoch, offset } = this.#position;
    const rebased = epoch !== undefined && (epoch !== answer.epoch || offset > answer.offset);
    this.#position.reset(answer.epoch, answer.offset);
    if (rebased) this.#journal.rebased();
    this.#journal.received(content);
    this.#number = answer.channel;
    this.canWrite = answer.canWrite;
    connection.attach(answer.channel, this);
    this.#backoff.reset();
    if ((rebased || this.#wholeWanted) && this.canWrite) this.#resendWhole();
    this.#host.opened();
    this.pump();
    this.#host.changed();
  }

  /** One edit with all this device has takes the place of all that wait. */
  #resendWhole(): void {
    this.#wholeWanted = false;
    const whole: Edit = { update: this.#host.encode(), novel: false, whole: true };
    this.#journal.acked(this.#outbox.replace(whole));
    this.#journal.edited(whole);
  }

  /** Acks alone cannot always tell whose an offset is; opening again can. */
  #closeHole(): void {
    if (this.#position.ahead > maxAhead) this.#open();
  }
}
