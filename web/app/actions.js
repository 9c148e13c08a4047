// What the reader can do. Views call these; these call the API, and say what came of it.

import { Offline, Problem, read } from "./api.js";
import * as answers from "./answers.js";
import { get, put, replace } from "./db.js";
import { offerFrom, openLeadFrom, place, product } from "./offer.js";
import * as push from "./push.js";
import { ask, askCode, enter, leave } from "./session.js";
import { change, say, state } from "./store.js";
import { coded, measureIn, moment, speak, t } from "./words.js";

// --- who

export const askForCode = (email) => login(async () => {
  const id = await askCode(email);
  change({ login: { step: "code", email, id } });
});

export const enterCode = (code) => login(async () => {
  await enter({ login: state.login.id, code });
  await begin();
});

let begin = async () => {};

/** What to do once somebody is logged in. */
export function whenIn(callback) {
  begin = callback;
}

async function login(step) {
  change({ login: { ...state.login, busy: true, error: null } });
  try {
    await step();
  } catch (error) {
    change({ login: { ...state.login, busy: false, error: inWords(error, "problem.login") } });
  }
}

export async function logOut() {
  await push.forget().catch(() => {});
  await leave();
  location.hash = "";
  location.reload();
}

/** The person, from the service or, without a network, from this phone. */
export async function loadMe() {
  try {
    await becomes(await read(await ask("/me")));
  } catch (error) {
    const kept = await get("kept", "profile");
    if (!kept || !(error instanceof Offline || error.passing)) throw error;
    await becomes(kept);
  }
}

async function becomes(answer) {
  await put("kept", "profile", answer);
  const me = { ...answer.person, member: answer.member };
  measureIn(me.units);
  await speak(me.language);
  change({ me });
}

/** One change of oneself after the other: an answer tells all of oneself, and a late one would undo the next change. */
let changing = Promise.resolve();
const inTurn = (work) => (changing = changing.then(work, work));

export const setProfile = (values) => attempt(() => inTurn(async () => {
  await becomes(await read(await ask("/me", { method: "PATCH", body: values })));
}));

export const setPresence = (present) => attempt(() => inTurn(async () => {
  await becomes(await read(await ask("/me", { method: "PATCH", body: { present } })));
  say("good", t(present ? "presence.on" : "presence.off"));
}));

// --- offers

/** All open offers and the newest ended ones; kept on this phone for times without a network. Says what has changed. */
export async function loadOffers() {
  const page = await read(await ask("/offers?limit=50")); // the newest, whatever became of them
  const open = await read(await ask("/offers?limit=100&state=offered&state=accepted"));
  await put("kept", "since", String(page.since));
  const before = state.offers;
  await show(new Map([...page.offers, ...open.offers].map((one) => [one.id, offerFrom(one, before.get(one.id))])));
  for (const one of before.values()) tellChange(one, state.offers.get(one.id));
}

export async function rememberOffers(kept) {
  change({ offers: new Map(kept.map((one) => [one.id, one])) });
}

async function show(offers) {
  change({ offers });
  await replace("offers", [...offers.values()]);
}

/** One offer as it stands now; with contact data when it is an accepted one. */
export async function loadOffer(id) {
  try {
    const one = offerFrom(await read(await ask(`/offers/${id}`)), state.offers.get(id));
    await show(new Map(state.offers).set(id, one));
    return one;
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    const left = new Map(state.offers);
    left.delete(id);
    await show(left);
    return null;
  }
}

/** News of the stream: looks at each offer named, and says what the reader must know. */
export async function hear(news) {
  for (const id of new Set(news.map((event) => event.offer_id).filter(Boolean))) {
    const before = state.offers.get(id);
    const now = await loadOffer(id).catch(() => null);
    tellChange(before, now);
  }
  if (news.some((event) => event.what?.startsWith("lead."))) await loadOpenLeads();
}

function tellChange(before, now) {
  if (!now || state.waiting.has(now.id)) return; // an answer of this phone under way says itself what came of it
  const what = { what: product(now), place: place(now) };
  if (now.state === "offered" && !before) say("news", t("news.offered", what), `#/offers/${now.id}`);
  if (!before || before.state === now.state) return;
  const key = `news.${before.state}.${now.reason === "taken" ? "taken" : now.state}`;
  if (t(key) !== key) say(now.state === "accepted" ? "good" : "bad", t(key, what));
}

export async function loadOpenLeads() {
  const page = await read(await ask("/open-leads"));
  change({ openLeads: page.leads.map(openLeadFrom) });
}

// --- answers

export const answer = (offer, verb, reason) =>
  answers.answer(offer.id, verb, reason && { reason }, settled).catch(unexpected);
export const flush = () => answers.flush(settled).catch(unexpected);

/** What the service said to an answer: done, or in plain words why not, and since when. */
async function settled({ offerId, verb }, problem) {
  const before = state.offers.get(offerId);
  const now = (await loadOffer(offerId).catch(() => null)) ?? before;
  const what = now ? product(now) : "";
  const since = now && { when: moment(now.endedAt ?? now.expiresAt), state: coded("state", now.state) };
  if (problem) say("bad", inWords(problem, "problem.answer", { what, ...since }));
  else say("good", t(`done.${verb}`, { what }));
  if (!problem && verb === "accept") location.hash = `#/offers/${offerId}`;
}

export const secondChance = (offer) => attempt(async () => {
  await ask(`/offers/${offer.id}/second-chance`, { method: "POST" });
  say("good", t("again.asked"));
});

export const takeLead = (lead) => attempt(async () => {
  try {
    const taken = await read(await ask(`/open-leads/${lead.id}/take`, { method: "POST" }));
    await loadOffer(taken.id);
    location.hash = `#/offers/${taken.id}`;
  } finally {
    await loadOpenLeads();
  }
});

export const assignOffer = (offer, person) => attempt(async () => {
  await ask(`/offers/${offer.id}/assign`, { method: "POST", body: { person_id: person || null } });
  await loadOffer(offer.id);
  say("good", t("team.assigned"));
});

// --- the rest

export const loadStanding = () => attempt(async () => change({ standing: await read(await ask("/me/standing")) }));

export const loadTeam = () => attempt(async () => change({ team: (await read(await ask("/me/team"))).people }));

export const addPerson = (values) => attempt(async () => {
  await ask("/me/team", { method: "POST", body: values });
  await loadTeam();
  say("good", t("team.added", { name: values.name }));
  return true;
});

export const setPerson = (person, values) => attempt(async () => {
  await ask(`/me/team/${person.id}`, { method: "PATCH", body: values });
  await loadTeam();
});

export const setPush = (on) => attempt(async () => change({ push: await (on ? push.begin() : push.stop()) }));

/** Does something that needs the network at once; says so in words when it fails. */
async function attempt(step) {
  try {
    return await step();
  } catch (error) {
    say("bad", inWords(error, "problem.other"));
    return undefined;
  }
}

export function unexpected(error) {
  say("bad", inWords(error, "problem.other"));
}

/** A failure in the reader's words: by its kind where there is a text for it, else by what was tried. */
function inWords(error, otherwise, values = {}) {
  if (error instanceof Offline) return t("problem.offline", values);
  if (!(error instanceof Problem)) {
    reportError(error);
    return t(otherwise, values);
  }
  const key = `problem.${error.kind}`;
  const text = t(key, values);
  return text === key ? t(otherwise, values) : text;
}
