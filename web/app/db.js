// What this phone remembers between visits: the refresh token, the last offers, answers not sent yet.

const NAME = "fairturn";
const STORES = ["kept", "offers", "answers"]; // keys in `kept`: session, profile, since, language

let opened;

function open() {
  opened ??= new Promise((done, failed) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => STORES.forEach((name) => asked.result.createObjectStore(name));
    asked.onsuccess = () => done(asked.result);
    asked.onerror = () => failed(asked.error);
  });
  return opened;
}

async function run(store, mode, work) {
  const base = await open();
  return new Promise((done, failed) => {
    const step = base.transaction(store, mode);
    const asked = work(step.objectStore(store));
    step.oncomplete = () => done(asked?.result);
    step.onerror = step.onabort = () => failed(step.error);
  });
}

export const get = (store, key) => run(store, "readonly", (s) => s.get(key));
export const all = (store) => run(store, "readonly", (s) => s.getAll());
export const put = (store, key, value) => run(store, "readwrite", (s) => s.put(value, key));
export const remove = (store, key) => run(store, "readwrite", (s) => s.delete(key));

/** Puts these in place of everything that was in the store. */
export const replace = (store, values) =>
  run(store, "readwrite", (s) => {
    s.clear();
    for (const value of values) s.put(value, value.id);
  });

/** Forgets the person; the language of the page stays. */
export async function forget() {
  await Promise.all([run("offers", "readwrite", (s) => s.clear()), run("answers", "readwrite", (s) => s.clear())]);
  await Promise.all(["session", "profile", "since"].map((key) => remove("kept", key)));
}
