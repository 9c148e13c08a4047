// What is around every view: name, presence, messages, the way to the others.

import { setPresence } from "../actions.js";
import { change, state, unsay } from "../store.js";
import { t } from "../words.js";
import { button, dialog, h, toggle } from "./parts.js";

const ICONS = {
  offers: "M4 13h4l2 3h4l2-3h4M5 5h14l2 8v6H3v-6z",
  jobs: "M4 7h16v12H4zM9 7V5h6v2M4 12h16",
  standing: "M5 20v-6M12 20V8M19 20V4",
  team: "M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM3 20c0-4 3-6 6-6s6 2 6 6M16 5a3 3 0 0 1 0 6M17 14c3 0 4 3 4 6",
  profile: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c0-4 4-6 8-6s8 2 8 6",
};

const icon = (name) =>
  h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, h("path", { d: ICONS[name] }));

export const tabs = () =>
  ["offers", "jobs", "standing", ...(state.me?.role === "partner_admin" ? ["team"] : []), "profile"];

const link = (name) => {
  const here = state.view.name === name || (state.view.name === "offer" && state.view.from === name);
  return h("li", { key: name }, h("a", { href: `#/${name}`, "aria-current": here ? "page" : undefined },
    icon(name), h("span", null, t(`tab.${name}`))));
};

const connection = () => {
  const how = !state.online ? "offline" : state.live === "off" ? "connecting" : state.live;
  return h("span", { class: `connection ${how}` }, h("i", { "aria-hidden": "true" }), t(`connection.${how}`));
};

/** News of an offer are only spoken where the offer itself is to be seen. */
const message = ({ id, kind, text, link: to }) => kind === "news" && state.view.name === "offers"
  ? h("li", { key: id, class: "spoken" }, text)
  : h("li", { key: id, class: `message ${kind}` },
    h("span", null, text, to && [" ", h("a", { href: to }, t("show"))]),
    button("plain", t("dismiss"), () => unsay(id), { "aria-label": `${t("dismiss")}: ${text}` }));

export const frame = (content) => [
  h("a", { class: "skip", href: "#title", onClick: skip }, t("skip")),
  h("header", null, h("span", { class: "brand" }, "Fairturn"), state.me && connection(),
    state.me && toggle(t("presence"), state.me.member.present, () => setPresence(!state.me.member.present))),
  h("div", { role: "status", "aria-live": "polite" }, h("ul", { class: "messages" }, state.messages.map(message))),
  h("main", { id: "main" }, content),
  state.me && h("nav", { "aria-label": t("tabs") }, h("ul", null, tabs().map(link))),
  dialog(),
];

function skip(event) {
  event.preventDefault();
  document.getElementById("title")?.focus();
  change();
}
