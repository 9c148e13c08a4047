// Two steps without a password: an address, then the code that was sent there.

import { askForCode, enterCode } from "../actions.js";
import { change, state } from "../store.js";
import { t } from "../words.js";
import { button, field, h, paragraph, title } from "./parts.js";

const submit = (act) => (event) => {
  event.preventDefault();
  act(Object.fromEntries(new FormData(event.currentTarget)));
};

const complaint = () => state.login.error && h("p", { class: "error", role: "alert" }, state.login.error);

export function login() {
  return state.login.step === "email" ? address() : code();
}

const address = () => [
  title(t("login.title")),
  paragraph("lead", t("login.intro")),
  h("form", { key: "email", onSubmit: submit(({ email }) => askForCode(email.trim())) },
    field(t("login.email"), "email", { type: "email", autocomplete: "email", inputMode: "email", required: true,
      defaultValue: state.login.email }),
    complaint(),
    h("button", { class: "primary", disabled: state.login.busy }, t("login.send"))),
];

const code = () => [
  title(t("login.code_title")),
  paragraph("lead", t("login.sent", { email: state.login.email })),
  h("form", { key: "code", onSubmit: submit(({ code: typed }) => enterCode(typed)) },
    field(t("login.code"), "code", { inputMode: "numeric", autocomplete: "one-time-code", required: true,
      pattern: "[0-9 \\-]{8,12}", maxLength: 12 }, t("login.code_hint")),
    complaint(),
    h("button", { class: "primary", disabled: state.login.busy }, t("login.enter"))),
  button("plain", t("login.other"), () => change({ login: { step: "email", email: state.login.email } })),
];
