import type { Operation, RequestOf, ResponseOf } from "./call.js";
import { MemoError } from "./errors.js";
import { creations, type ErrorBody } from "./types.js";

/** An operation that makes something under an id of the client's. */
export type Creation = (typeof creations)[number];

/** Operations of one connection: there is no sense in sending them with a later one. */
export type Unqueueable = "documents.open" | "documents.close" | "session.renew";

/** An operation that may wait for a connection. */
export type Queueable = Exclude<Operation, Unqueueable>;

/** What a queued request says: that of a creation has an id, whether or not the caller gave one. */
export type QueuedBody<K extends Operation> = K extends Creation
  ? RequestOf<K> & { id: string }
  : RequestOf<K>;

/** A request in the line, as `enqueue` made it. */
export interface QueuedRequest<K extends Operation = Operation> {
  /** Its number in the store, rising in the order of queueing. */
  seq: number;
  operation: K;
  body: QueuedBody<K>;
  /** RFC 3339, by this device's clock. */
  queuedAt: string;
}

/** A queued request that the server has carried out. `operation` tells what the others are. */
export type SettledRequest = {
  [K in Queueable]: { operation: K; entry: QueuedRequest<K>; response: ResponseOf<K> };
}[Queueable];

/** A queued request that the server will not carry out. It is out of the line. */
export interface RefusedRequest {
  entry: QueuedRequest;
  error: MemoError;
}

/** What tabs that share a line tell each other of it. */
export type QueueNews =
  | { type: "queued"; entry: QueuedRequest }
  | { type: "discarded"; entry: QueuedRequest }
  | { type: "settled"; entry: QueuedRequest; response: unknown }
  | { type: "refused"; entry: QueuedRequest; error: ErrorBody };

const unqueueable = new Set<string>(["documents.open", "documents.close", "session.renew"]);
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * The body that is queued for `body`, with an id if it makes something. Throws `MemoError`
 * `invalid_request` for an operation that cannot wait.
 */
export function queuedBody<K extends Operation>(operation: K, body: RequestOf<K>): QueuedBody<K> {
  if (unqueueable.has(operation)) {
    throw new MemoError("invalid_request", `${operation} is of one connection: call it instead`);
  }
  const given = body as { id?: string | null };
  const makes = (creations as readonly string[]).includes(operation);
  return (makes && !given.id ? { ...body, id: newId() } : { ...body }) as QueuedBody<K>;
}

/** The memory that a request makes, if it makes one. */
export function madeMemory({ operation, body }: QueuedRequest): string | undefined {
  return operation === "memories.create" ? (body as { id: string }).id : undefined;
}

/**
 * What a request is about: the ids it names, or else its domain. Requests that share none of these
 * may be carried out in any order.
 */
export function subjects({ operation, body }: QueuedRequest): string[] {
  const named = Object.values(body)
    .flat()
    .filter((value): value is string => typeof value === "string" && uuid.test(value));
  if (named.length === 0) return [operation.split(".")[0]!];
  return named.map((id) => id.toLowerCase());
}

/** A random UUID. `crypto.randomUUID` is neither in React Native nor on pages without TLS. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
