// Who is logged in. The access token lives in memory alone; the refresh token, which is good for one use, in IndexedDB,
// because that is the only place of the browser that outlives a reload and is not sent along with every request.
// No foreign script can read it: the page's CSP allows only scripts of this origin, and none in the page itself.

import { API, Problem, read, send } from "./api.js";
import { forget, get, put } from "./db.js";

const EARLY_MS = 30_000;

let access = null; // { token, until }
let onEnd = () => {};

/** Told when the service no longer knows this phone. */
export function whenEnded(callback) {
  onEnd = callback;
}

export const known = async () => Boolean(await get("kept", "session"));

/** Sends a code to that address, if it belongs to somebody; the name of the login, to be given with the code. */
export async function askCode(email) {
  const begun = await read(await send(`${API}/login`, { method: "POST", body: { email } }));
  return begun.login;
}

/** Logs in with { login, code }, or with the { link } of a message. */
export async function enter(proof) {
  const tokens = await read(await send(`${API}/login/verify`, { method: "POST", body: proof }));
  await forget(); // whoever used this phone before
  await keep(tokens);
}

/** Calls the API as the person logged in; a token that ran out is replaced once. */
export async function ask(path, options = {}) {
  try {
    return await send(API + path, { ...options, token: await token() });
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
    access = null;
    return send(API + path, { ...options, token: await token() });
  }
}

export async function leave() {
  const session = await get("kept", "session");
  await end();
  if (session) await send("/oauth/revoke", { method: "POST", form: { token: session.refresh, ...CLIENT } }).catch(() => {});
}

async function token() {
  if (access && access.until > Date.now() + EARLY_MS) return access.token;
  await alone("fairturn-refresh", refresh);
  return access.token;
}

/** One tab at a time: a refresh token used twice looks stolen, and ends the whole login. */
async function refresh() {
  if (access && access.until > Date.now() + EARLY_MS) return;
  const session = await get("kept", "session");
  if (!session) throw await gone();
  const form = { grant_type: "refresh_token", refresh_token: session.refresh, ...CLIENT };
  try {
    await keep(await read(await send("/oauth/token", { method: "POST", form })));
  } catch (error) {
    if (error instanceof Problem && [400, 401, 403].includes(error.status)) throw await gone();
    throw error;
  }
}

const CLIENT = { client_id: "fairturn-app" };

async function keep(tokens) {
  access = { token: tokens.access_token, until: Date.now() + tokens.expires_in * 1000 };
  await put("kept", "session", { refresh: tokens.refresh_token });
}

async function end() {
  access = null;
  await forget();
}

async function gone() {
  await end();
  onEnd();
  return new Problem(401, { type: "logged-out", detail: "" });
}

/** Runs the work while no other tab of this page does the same. */
export const alone = (name, work) => (navigator.locks ? navigator.locks.request(name, work) : work());
