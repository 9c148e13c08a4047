// The people of the reader's own company; only its admin sees this.

import { addPerson, setPerson } from "../actions.js";
import { state } from "../store.js";
import { t } from "../words.js";
import { button, field, h, paragraph, select, title } from "./parts.js";

let role = "partner";

export function team() {
  return [
    title(t("team.title")),
    paragraph("lead", t("team.intro")),
    h("ul", { class: "cards" }, (state.team ?? []).map(person)),
    h("h2", null, t("team.add")),
    h("form", { onSubmit: submit },
      field(t("profile.name"), "name", { autocomplete: "off", required: true, maxLength: 200 }),
      field(t("profile.email"), "email", { type: "email", autocomplete: "off", required: true }),
      select(t("team.role"), "role", ["partner", "partner_admin"].map((r) => [r, t(`role.${r}`)]), role, (value) => (role = value)),
      h("button", { class: "primary" }, t("team.add"))),
  ];
}

async function submit(event) {
  event.preventDefault();
  const form = event.currentTarget;
  if (await addPerson(Object.fromEntries(new FormData(form)))) form.reset();
}

const person = (one) =>
  h("li", { key: one.id, class: "card" },
    h("h2", { id: `person-${one.id}` }, one.name),
    paragraph("where", [one.email, t(`role.${one.role}`), !one.active && t("team.off")].filter(Boolean).join(" · ")),
    one.id !== state.me.id && h("div", { class: "answers" },
      button("second", t(one.active ? "team.disable" : "team.enable"), () => setPerson(one, { active: !one.active }),
        { "aria-describedby": `person-${one.id}` })));
