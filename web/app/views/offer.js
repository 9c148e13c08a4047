// One offer: before it is accepted what may be seen, afterwards whom to call and what to do next.

import { answer, assignOffer, secondChance } from "../actions.js";
import { mapLink, place, product } from "../offer.js";
import { state } from "../store.js";
import { coded, country, distance, moment, number, t } from "../words.js";
import { answering, remaining } from "./offers.js";
import { askReason, button, facts, h, paragraph, select, title } from "./parts.js";

export function offer() {
  const one = state.offers.get(state.view.id);
  if (!one) return [title(t("offer.unknown")), h("p", null, h("a", { href: "#/offers" }, t("offer.back")))];
  return [
    h("p", null, h("a", { href: state.view.from === "jobs" ? "#/jobs" : "#/offers" }, t("offer.back"))),
    title(product(one)),
    paragraph(`state ${one.state}`, t(`state.${one.state}`)),
    one.state === "offered" && [remaining(one), answering(one)],
    one.contact && contact(one),
    one.state === "accepted" && work(one),
    one.state === "expired" && button("second", t("again.ask"), () => secondChance(one)),
    h("h2", null, t("offer.details")),
    facts([
      [t("fact.distance"), distance(one.km)],
      [t("fact.place"), place(one)],
      [t("fact.country"), one.country && country(one.country)],
      ...one.more.map(([name, value]) => [coded("fact", name), typeof value === "number" ? number(value) : value]),
      [t("fact.offered"), moment(one.offeredAt)],
      [t("fact.expires"), one.state === "offered" && moment(one.expiresAt)],
      [t("fact.accepted"), one.acceptedAt && moment(one.acceptedAt)],
      [t("fact.ended"), one.endedAt && one.state !== "accepted" && moment(one.endedAt)],
      [t("fact.reason"), one.reason && coded(one.state === "rejected" ? "reject" : one.state, one.reason)],
    ]),
  ];
}

const contact = ({ contact: who }) =>
  h("section", { class: "contact", "aria-labelledby": "contact" },
    h("h2", { id: "contact" }, t("contact.title")),
    facts([
      [t("contact.name"), who.name],
      [t("contact.company"), who.company],
      [t("contact.address"), who.address],
    ]),
    h("ul", { class: "ways" },
      who.phone && h("li", null, h("a", { class: "way", href: `tel:${who.phone.replace(/[^+\d]/g, "")}` }, t("contact.call", { phone: who.phone }))),
      who.email && h("li", null, h("a", { class: "way", href: `mailto:${encodeURIComponent(who.email).replace("%40", "@")}` }, t("contact.write", { email: who.email }))),
      mapLink(who) && h("li", null, h("a", { class: "way", href: mapLink(who), target: "_blank", rel: "noreferrer" }, t("contact.map")))));

function work(one) {
  const waiting = state.waiting.get(one.id);
  if (waiting) return paragraph("note", t(state.online ? "answer.sending" : "answer.queued", { what: t(`verb.${waiting.verb}`) }));
  return h("section", { class: "work", "aria-labelledby": "work" },
    h("h2", { id: "work" }, t("work.title")),
    one.workBy && paragraph("note", t("job.work_by", { when: moment(one.workBy) })),
    h("div", { class: "answers" },
      button("primary", t("verb.complete"), () => answer(one, "complete")),
      button("second", t("verb.progress"), () => answer(one, "progress")),
      [["lose", "lost", "lose_reasons"], ["return", "returned", "return_reasons"], ["extend", "extend", "extend_reasons"]].map(
        ([verb, group, choice]) => one.choices[choice].length > 0 && withReason(one, verb, group, one.choices[choice]))),
    one.choices.return_until && paragraph("small", t("return.until", { when: moment(one.choices.return_until) })),
    state.team && select(t("team.assign"), "assignee",
      [["", t("team.nobody")], ...state.team.filter((p) => p.active).map((p) => [p.id, p.name])], one.assignee ?? "",
      (person) => assignOffer(one, person)));
}

const withReason = (one, verb, group, codes) =>
  button("second", t(`verb.${verb}`),
    () => askReason(t(`${verb}.title`), group, codes, coded, (reason) => answer(one, verb, reason)),
    { key: verb, "aria-haspopup": "dialog" });
