// Pieces that several views are made of.

import { Component, h } from "../vendor/preact-11.2.0.mjs";
import { change, state } from "../store.js";
import { t } from "../words.js";

export { h };

export const button = (kind, text, act, more = {}) =>
  h("button", { type: "button", class: kind, onClick: act, ...more }, text);

export const paragraph = (kind, text) => h("p", { class: kind }, text);

/** Term and value pairs; those without a value are left out. */
export const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.filter(([, value]) => value).map(([term, value]) =>
    h("div", { key: term }, h("dt", null, term), h("dd", null, value))));

export const title = (text) => h("h1", { tabIndex: -1, id: "title" }, text);

/** A labelled input. */
export const field = (label, name, more = {}, hint = null) =>
  h("p", { class: "field" },
    h("label", { for: name }, label),
    h("input", { id: name, name, "aria-describedby": hint ? `${name}-hint` : undefined, ...more }),
    hint && h("small", { id: `${name}-hint` }, hint));

export const select = (label, name, options, value, act) =>
  h("p", { class: "field" },
    h("label", { for: name }, label),
    h("select", { id: name, name, onChange: (event) => act(event.currentTarget.value) },
      options.map(([key, text]) => h("option", { key, value: key, selected: key === value }, text))));

/** On or off, told as such to who cannot see it. */
export const toggle = (label, on, act, more = {}) =>
  h("button", { type: "button", role: "switch", class: "toggle", "aria-checked": String(on), onClick: act, ...more },
    h("span", { class: "track", "aria-hidden": "true" }), h("span", null, label));

/** A native dialog: the browser keeps the focus inside and closes it with Escape. */
export class Dialog extends Component {
  componentDidMount() {
    this.box.showModal();
  }

  render({ heading, children }) {
    const close = () => change({ dialog: null });
    return h("dialog", { ref: (box) => (this.box = box), "aria-labelledby": "dialog-title", onClose: close },
      h("h2", { id: "dialog-title" }, heading),
      children,
      button("plain", t("cancel"), () => this.box.close()));
  }
}

/** Asks for one of several reasons; the tap on a reason is the answer. */
export function askReason(heading, group, codes, label, answer) {
  change({ dialog: { heading, choices: codes.map((code) => [label(group, code), () => {
    change({ dialog: null });
    answer(code);
  }]) } });
}

export const dialog = () => state.dialog && h(Dialog, { heading: state.dialog.heading },
  h("ul", { class: "choices" }, state.dialog.choices.map(([text, act]) =>
    h("li", { key: text }, button("choice", text, act)))));
