// The beginning: words, the person, the last offers; then the stream, and a picture of it all after every change.

import { Offline } from "./api.js";
import * as actions from "./actions.js";
import { remembered } from "./answers.js";
import { all } from "./db.js";
import { listen } from "./live.js";
import { status as pushStatus } from "./push.js";
import { enter, known, whenEnded } from "./session.js";
import { change, onChange, say, state, unsayOld } from "./store.js";
import { Fragment, h, render } from "./vendor/preact-11.2.0.mjs";
import { frame } from "./views/frame.js";
import { login } from "./views/login.js";
import { jobs, offers } from "./views/offers.js";
import { offer } from "./views/offer.js";
import { profile } from "./views/profile.js";
import { standing } from "./views/standing.js";
import { team } from "./views/team.js";
import { preferred, speak, t } from "./words.js";

const VIEWS = { offers, jobs, offer, standing, team, profile };

// The page's CSP lets no text become a script's address but by this policy, and there is only this one.
const WORKER = (globalThis.trustedTypes?.createPolicy("fairturn", { createScriptURL: () => "sw.js" }) ?? { createScriptURL: () => "sw.js" })
  .createScriptURL("");

let hearing = null;

function draw() {
  if (!state.ready) return;
  const view = state.me ? VIEWS[state.view.name] : login;
  render(h(Fragment, null, frame(view())), document.getElementById("app"));
  const heading = document.getElementById("title")?.textContent;
  document.title = heading ? `${heading} - Fairturn` : "Fairturn";
}

/** #/offers, #/offers/ID, #/jobs and so on; or a link that lets its reader in. */
async function follow() {
  if (await invited()) await begin().catch(actions.unexpected);
  const [, name = "offers", id] = location.hash.split("/");
  const before = state.view;
  const view = name === "offers" && id ? { name: "offer", id, from: before.name === "jobs" ? "jobs" : "offers" }
    : { name: name in VIEWS ? name : "offers" };
  change({ view, dialog: null });
  if (view.name !== before.name || view.id !== before.id) {
    unsayOld();
    queueMicrotask(() => queueMicrotask(goToTitle)); // once the view is drawn
  }
  load(view);
}

function goToTitle() {
  window.scrollTo(0, 0);
  document.getElementById("title")?.focus({ preventScroll: true });
}

/** What a view shows besides the offers. */
function load(view) {
  if (!state.me) return;
  if (view.name === "offer" && state.online) actions.loadOffer(view.id).catch(actions.unexpected);
  if (view.name === "standing") actions.loadStanding();
  if (state.me.role === "partner_admin" && (view.name === "team" || view.name === "offer")) actions.loadTeam();
}

async function begin() {
  await actions.loadMe();
  change({ login: { step: "email", email: "" }, push: await pushStatus() });
  await actions.rememberOffers(await all("offers"));
  await remembered();
  await actions.loadOffers().catch((error) => error instanceof Offline || actions.unexpected(error));
  load(state.view);
  if (state.online) actions.loadOpenLeads().catch(actions.unexpected);
  actions.flush();
  hearing?.abort();
  hearing = new AbortController();
  listen({ tell: news, show: (live) => change({ live }), signal: hearing.signal }).catch(() => {});
}

const news = (events) => void actions.hear(events).catch(actions.unexpected);

function ended() {
  hearing?.abort();
  change({ me: null, offers: new Map(), waiting: new Map(), standing: null, team: null, live: "off" });
  say("bad", t("login.ended"));
}

function back() {
  change({ online: true });
  if (!state.me) return;
  actions.flush();
  actions.loadOffers().catch(() => {});
}

/** A link of ours may carry what lets its reader in at once; it is taken out of the address before it is used. */
async function invited() {
  const link = new URLSearchParams(location.hash.slice(1)).get("login");
  if (!link) return false;
  history.replaceState(null, "", location.pathname);
  return enter({ link }).then(() => true, () => (say("bad", t("problem.link")), false));
}

async function start() {
  onChange(draw);
  await speak(await preferred());
  actions.whenIn(begin);
  whenEnded(ended);
  window.addEventListener("hashchange", follow);
  window.addEventListener("online", back);
  window.addEventListener("offline", () => change({ online: false, live: "off" }));
  setInterval(() => state.offers.size && change(), 1000);
  await invited();
  if (await known()) await begin().catch(actions.unexpected);
  change({ ready: true });
  follow();
  navigator.serviceWorker?.register(WORKER).catch(() => {}); // without it the page works while there is a network
}

start();
