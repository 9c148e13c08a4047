// Answers leave this phone once: each is written down with its Idempotency-Key before it is sent, and sent with the same
// key until the service has said what became of it; a reload, a second tap or a lost connection changes nothing.

import { Offline, Problem } from "./api.js";
import { all, put, remove } from "./db.js";
import { alone, ask } from "./session.js";
import { change, state } from "./store.js";

const PAUSE_MS = 3_000;

let later;

/** Keeps the answer and sends it as soon as that is possible. `settled(answer, problem | null)` is told. */
export async function answer(offerId, verb, body, settled) {
  if (state.waiting.has(offerId)) return;
  const kept = { id: offerId, key: newKey(), offerId, verb, body, at: Date.now() };
  mark(kept);
  await put("answers", offerId, kept);
  await flush(settled);
}

/** What was not sent when the page was last open. */
export async function remembered() {
  for (const kept of await all("answers")) mark(kept);
}

/** Sends everything that waits, oldest first; tries again later what could not be sent. */
export async function flush(settled) {
  clearTimeout(later);
  const again = await alone("fairturn-answers", async () => {
    for (const kept of (await all("answers")).sort((a, b) => a.at - b.at)) {
      const outcome = await sendOne(kept);
      if (outcome.later) return outcome.later;
      await remove("answers", kept.offerId);
      await settled(kept, outcome.problem ?? null);
      state.waiting.delete(kept.offerId); // only now: what the stream says meanwhile is news of this phone's own doing
      change();
    }
    return 0;
  });
  if (again && navigator.onLine) later = setTimeout(() => flush(settled), again);
}

async function sendOne({ offerId, verb, body, key }) {
  try {
    const headers = { "Idempotency-Key": key };
    await ask(`/offers/${offerId}/${verb}`, { method: "POST", body, headers });
    return {};
  } catch (problem) {
    if (problem instanceof Problem && !problem.passing) return { problem };
    if (problem instanceof Problem) return { later: (problem.retryAfter || 3) * 1000 };
    if (problem instanceof Offline) return { later: PAUSE_MS };
    throw problem;
  }
}

/** 128 random bits; crypto.randomUUID is missing on plain http. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function mark(kept) {
  state.waiting.set(kept.offerId, kept);
  change();
}
