// The list of what waits for an answer, and the list of accepted work.

import { answer, takeLead } from "../actions.js";
import { place, product } from "../offer.js";
import { state } from "../store.js";
import { coded, distance, length, moment, t } from "../words.js";
import { askReason, button, h, paragraph, title } from "./parts.js";

const byTime = (key) => (a, b) => String(a[key] ?? "").localeCompare(String(b[key] ?? ""));

const those = (...states) => [...state.offers.values()].filter((offer) => states.includes(offer.state));

export function offers() {
  const open = those("offered").sort(byTime("expiresAt"));
  return [
    title(t("offers.title")),
    !state.me.member.present && paragraph("note", t("offers.absent")),
    !state.online && paragraph("note", t("offers.offline")),
    open.length === 0 && paragraph("lead", t("offers.none")),
    h("ul", { class: "cards" }, open.map(card)),
    state.openLeads.length > 0 && [h("h2", null, t("open.title")), paragraph("lead", t("open.intro")),
      h("ul", { class: "cards" }, state.openLeads.map(openCard))],
  ];
}

export const summary = (offer) => [
  distance(offer.km),
  place(offer),
].filter(Boolean).join(" · ");

export function remaining(offer) {
  const left = offer.endsAt - Date.now();
  const whole = Math.max(1, Date.parse(offer.expiresAt) - Date.parse(offer.offeredAt));
  const urgent = left < whole / 5;
  return h("div", { class: urgent ? "left urgent" : "left" },
    h("span", { role: "timer" }, left > 0 ? t("offer.left", { time: length(left) }) : t("offer.over")),
    h("progress", { max: whole, value: Math.max(0, left), "aria-label": t("offer.time_left") }));
}

export function answering(offer) {
  const waiting = state.waiting.get(offer.id);
  if (waiting) return paragraph("note", t(state.online ? "answer.sending" : "answer.queued", { what: t(`verb.${waiting.verb}`) }));
  const over = offer.endsAt <= Date.now();
  const of = { "aria-describedby": `what-${offer.id}`, disabled: over };
  const reject = () => askReason(t("reject.title"), "reject", offer.choices.reject_reasons, coded, (why) => answer(offer, "reject", why));
  return h("div", { class: "answers" },
    button("primary", t("verb.accept"), () => answer(offer, "accept"), of),
    button("second", t("verb.reject"), reject, { ...of, "aria-haspopup": "dialog" }));
}

const card = (offer) =>
  h("li", { key: offer.id, class: "card" },
    h("h2", { id: `what-${offer.id}` }, h("a", { href: `#/offers/${offer.id}` }, product(offer))),
    paragraph("where", summary(offer)),
    remaining(offer),
    answering(offer));

const openCard = (lead) =>
  h("li", { key: lead.id, class: "card" },
    h("h3", { id: `what-${lead.id}` }, product(lead)),
    paragraph("where", summary(lead)),
    paragraph("small", t("open.until", { when: moment(lead.until) })),
    h("div", { class: "answers" },
      button("primary", t("open.take"), () => takeLead(lead), { "aria-describedby": `what-${lead.id}` })));

export function jobs() {
  const open = those("accepted").sort(byTime("acceptedAt"));
  const ended = those("completed", "lost", "returned", "rejected", "expired", "withdrawn")
    .sort(byTime("endedAt")).reverse().slice(0, 20);
  return [
    title(t("jobs.title")),
    open.length === 0 && paragraph("lead", t("jobs.none")),
    h("ul", { class: "cards" }, open.map(job)),
    ended.length > 0 && h("h2", null, t("jobs.ended")),
    ended.length > 0 && h("ul", { class: "rows" }, ended.map(row)),
  ];
}

const job = (offer) =>
  h("li", { key: offer.id, class: "card" },
    h("h2", null, h("a", { href: `#/offers/${offer.id}` }, offer.contact?.name ?? product(offer))),
    paragraph("where", [offer.contact?.name && product(offer), summary(offer)].filter(Boolean).join(" · ")),
    offer.acceptedAt && paragraph("small", t("job.accepted", { when: moment(offer.acceptedAt) })),
    offer.workBy && paragraph("small", t("job.work_by", { when: moment(offer.workBy) })));

const row = (offer) =>
  h("li", { key: offer.id },
    h("a", { href: `#/offers/${offer.id}` }, product(offer)), " ",
    h("span", { class: `state ${offer.state}` }, t(`state.${offer.state}`)), " ",
    h("span", { class: "where" }, summary(offer)));
