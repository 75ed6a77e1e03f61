import { MemoError } from "@memory-app/client";
import type { Credentials } from "@memory-app/client";

export interface Sending {
  headers?: Record<string, string>;
  body?: XMLHttpRequestBodyInit;
  signal?: AbortSignal;
  /** Told how many bytes have left, as they do. */
  progress?: (sent: number) => void;
}

/** Signed-in requests that say how far they are, which `fetch` does not. */
export class Sender {
  #credentials: Credentials;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** The answer, if it is a good one. Rejects with a `MemoError`: the server's, or `unavailable`. */
  async send(method: string, path: string, sending: Sending): Promise<XMLHttpRequest> {
    const answer = await this.#once(method, path, sending, false);
    if (answer.status !== 401) return good(answer);
    return good(await this.#once(method, path, sending, true));
  }

  async #once(method: string, path: string, sending: Sending, force: boolean) {
    const token = await this.#credentials.getToken(force);
    const { headers = {}, body, signal, progress } = sending;
    return new Promise<XMLHttpRequest>((resolve, reject) => {
      const request = new XMLHttpRequest();
      const abort = () => request.abort();
      const fail = (code: string) => () => reject(new MemoError(code));
      request.open(method, path);
      request.setRequestHeader("Authorization", `Bearer ${token}`);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      if (progress) request.upload.onprogress = ({ loaded }) => progress(loaded);
      request.onload = () => resolve(request);
      request.onerror = fail("unavailable");
      request.onabort = fail("cancelled");
      request.onloadend = () => signal?.removeEventListener("abort", abort);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) return fail("cancelled")();
      request.send(body);
    });
  }
}

function good(answer: XMLHttpRequest): XMLHttpRequest {
  if (answer.status >= 200 && answer.status < 300) return answer;
  let error: { code?: string; message?: string; details?: Record<string, unknown> } = {};
  try {
    error = (JSON.parse(answer.responseText) as { error: typeof error }).error;
  } catch {
    // A proxy's page: the status is all there is to know.
  }
  const wait = Number(answer.getResponseHeader("Retry-After"));
  throw new MemoError(error.code ?? "unavailable", error.message, {
    details: error.details,
    ...(wait > 0 && { retryAfter: wait }),
  });
}
