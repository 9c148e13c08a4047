// News as they happen: server-sent events over fetch, because EventSource cannot send a token. Resumes after the last
// event it saw; while no stream can be had, asks again and again instead.

import { Problem, read } from "./api.js";
import { get, put } from "./db.js";
import { ask } from "./session.js";

const SILENCE_MS = 40_000; // the service sends a sign of life every 15 s
const POLL_MS = 5_000;
const POLLS = 6; // before the stream is tried again
const TRIES = 3; // before polling

/** Calls `tell([{ offer, ... }])` for all news and `show("live" | "polling" | "off")`, until the signal says stop. */
export async function listen({ tell, show, signal }) {
  let failures = 0;
  while (!signal.aborted) {
    const heard = await stream({ tell, show, signal }).catch(failed);
    failures = heard ? 0 : failures + 1;
    if (signal.aborted) break;
    show("off");
    if (failures >= TRIES && navigator.onLine) await poll({ tell, show, signal });
    else await pause(Math.min(500 * 2 ** failures, 15_000) * (0.5 + Math.random()), signal);
  }
  show("off");
}

/** Whatever it was, it is tried again where it ended; but who is logged out hears nothing more. */
function failed(error) {
  if (error instanceof Problem && error.status === 401) throw error;
  return false;
}

/** Reads one connection to its end; whether anything came at all. */
async function stream({ tell, show, signal }) {
  const cut = new AbortController();
  const stop = () => cut.abort();
  signal.addEventListener("abort", stop);
  let watch = setTimeout(stop, SILENCE_MS);
  let heard = false;
  try {
    const since = await get("kept", "since");
    const headers = since === undefined ? {} : { "Last-Event-ID": String(since) };
    const answer = await ask("/events", { headers, signal: cut.signal, stream: true });
    for await (const event of events(answer.body)) {
      clearTimeout(watch);
      watch = setTimeout(stop, SILENCE_MS);
      if (!heard) show("live");
      heard = true;
      if (event.data) {
        tell([{ ...JSON.parse(event.data), what: event.name }]);
        await put("kept", "since", event.id);
      }
    }
  } catch (error) {
    if (!heard) throw error;
  } finally {
    clearTimeout(watch);
    signal.removeEventListener("abort", stop);
    cut.abort();
  }
  return heard;
}

/** The events of a text/event-stream; a comment counts as one without data. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r\n\r\n|\n\n|\r\r/);
    rest = blocks.pop();
    for (const block of blocks) yield parse(block);
  }
}

function parse(block) {
  const event = { id: undefined, name: "", data: "" };
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "id") event.id = value;
    if (name === "event") event.name = value;
    if (name === "data") event.data += (event.data && "\n") + value;
  }
  return event;
}

async function poll({ tell, show, signal }) {
  for (let n = 0; n < POLLS && !signal.aborted; n++) {
    try {
      const since = await get("kept", "since");
      const page = await read(await ask(`/offers?since=${since ?? 0}`, { signal }));
      show("polling");
      if (page.offers.length) tell(page.offers.map((one) => ({ offer_id: one.id })));
      await put("kept", "since", String(page.since));
    } catch (error) {
      failed(error);
      show("off");
    }
    await pause(POLL_MS, signal);
  }
}

function pause(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    for (const [target, name] of [[signal, "abort"], [window, "online"]])
      target.addEventListener(name, () => (clearTimeout(timer), done()), { once: true });
  });
}
