// The public API, and nothing else: one door for every call, with errors by what to do next.

export const API = "/api/v1";

/** The network did not answer: the same call may be made again later. */
export class Offline extends Error {}

/** The service answered that it cannot be done (RFC 9457). */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || String(status));
    this.status = status;
    this.kind = String(body.type || "").split(":").pop(); // such as offer-expired
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may succeed in a moment. */
  get passing() {
    return this.status >= 500 || this.status === 429 || this.kind === "idempotency-key-in-use";
  }
}

/** The answer to a request; Offline or Problem when there is none. */
export async function send(path, { method = "GET", token, body, form, headers = {}, signal, stream } = {}) {
  const sent = { Accept: stream ? "text/event-stream" : "application/json", ...headers };
  if (token) sent.Authorization = `Bearer ${token}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: sent,
      body: form ? new URLSearchParams(form) : body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Offline(error.message);
  }
  if (!answer.ok) throw new Problem(answer.status, await read(answer), Number(answer.headers.get("Retry-After")) || 0);
  return answer;
}

/** The JSON in an answer, or an empty object when it holds none. */
export async function read(answer) {
  try {
    return (await answer.json()) ?? {};
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return {};
  }
}
