// The reader's own settings.

import { logOut, setProfile, setPush } from "../actions.js";
import { state } from "../store.js";
import { LANGUAGES, t } from "../words.js";
import { button, facts, field, h, paragraph, select, title, toggle } from "./parts.js";

export function profile() {
  const { me } = state;
  return [
    title(t("profile.title")),
    facts([[t("profile.name"), me.name], [t("profile.email"), me.email], [t("profile.company"), me.member.name]]),
    select(t("profile.language"), "language", Object.entries(LANGUAGES), me.language, (language) => setProfile({ language })),
    select(t("profile.units"), "units", [["mi", t("units.mi")], ["km", t("units.km")]], me.units, (units) => setProfile({ units })),
    h("h2", null, t("push.title")),
    state.push === "on" || state.push === "off"
      ? toggle(t("push.toggle"), state.push === "on", () => setPush(state.push === "off"))
      : paragraph("note", t(`push.${state.push}`)),
    h("h2", null, t("quiet.title")),
    paragraph("small", t("quiet.intro")),
    quiet(me),
    h("h2", null, t("logout.title")),
    paragraph("small", t("logout.intro")),
    button("second", t("logout.do"), logOut),
  ];
}

const quiet = (me) =>
  h("form", { class: "pair", onSubmit: (event) => {
    event.preventDefault();
    const { from, to } = Object.fromEntries(new FormData(event.currentTarget));
    const time_zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    setProfile(from && to ? { quiet: { begin: from, end: to }, time_zone } : { quiet: null });
  } },
  field(t("quiet.from"), "from", { type: "time", defaultValue: (me.quiet?.begin ?? "").slice(0, 5) }),
  field(t("quiet.to"), "to", { type: "time", defaultValue: (me.quiet?.end ?? "").slice(0, 5) }),
  h("button", { class: "second" }, t("save")));
