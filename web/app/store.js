// What the page knows now. `change` is the only way to alter it; the page is drawn anew after it.

export const state = {
  ready: false,
  online: navigator.onLine,
  live: "off", // off, live, polling
  me: null, // the person logged in
  offers: new Map(), // by id
  waiting: new Map(), // answers not sent yet, by offer id
  openLeads: [],
  standing: null,
  team: null,
  push: "unknown", // unsupported, denied, off, on
  messages: [],
  login: { step: "email", email: "", busy: false },
  dialog: null,
  view: { name: "offers" },
};

let draw = () => {};
let planned = false;

export function onChange(callback) {
  draw = callback;
}

export function change(values = {}) {
  Object.assign(state, values);
  if (planned) return;
  planned = true;
  queueMicrotask(() => {
    planned = false;
    draw();
  });
}

let numbers = 0;

/** Says something at the top of the page: bad news until the reader puts it away, the rest until another view. */
export function say(kind, text, link = null) {
  const messages = state.messages.filter((message) => message.text !== text).slice(-2);
  change({ messages: [...messages, { id: ++numbers, kind, text, link, at: Date.now() }] });
}

/** What was read before the reader went on. */
export function unsayOld() {
  change({ messages: state.messages.filter(({ kind, at }) => kind === "bad" || Date.now() - at < 2000) });
}

export function unsay(id) {
  change({ messages: state.messages.filter((message) => message.id !== id) });
}
