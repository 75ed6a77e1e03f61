export { type CallOptions } from "./call.js";
export {
  MemoryClient,
  type ClientEvents,
  type ClientOptions,
  type ConnectionStatus,
  type Credentials,
} from "./client.js";
export { MemoryDocument, type DocumentEvents, type SyncState } from "./document.js";
export { Emitter } from "./emitter.js";
export { MemoError } from "./errors.js";
export { type FollowOptions } from "./feed.js";
export { IndexedDbStore } from "./indexeddb.js";
export type {
  Queueable,
  QueuedBody,
  QueuedRequest,
  QueueNews,
  RefusedRequest,
  SettledRequest,
} from "./request.js";
export {
  MemoryStore,
  type DocumentChange,
  type DocumentStore,
  type NewRequest,
  type PendingEdit,
  type StoredDocument,
} from "./store.js";
export { Thread, type NewMessage, type ThreadMessage } from "./thread.js";
export * from "./types.js";
/** The Yjs this package uses: a page with two copies of it does not work. */
export * as Y from "yjs";
