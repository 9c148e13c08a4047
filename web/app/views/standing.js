// How the reader's company stands: room, place in turn, limits, and why leads near it went elsewhere.

import { state } from "../store.js";
import { distance, number, percent, t } from "../words.js";
import { facts, h, paragraph, title } from "./parts.js";

const KM_A_MILE = 1.609344;

export function standing() {
  const own = state.standing;
  if (!own) return [title(t("standing.title"))];
  return [
    title(t("standing.title")),
    facts([[t("standing.held"), t("standing.of", { open: own.open, capacity: own.capacity })]]),
    own.turns.map((turn) => [
      h("h2", { key: turn.pool }, t("standing.turn")),
      paragraph("lead", turn.place ? t("standing.place", { place: turn.place, of: turn.of_about }) : t("standing.hidden")),
    ]),
    own.limits.map((limit) => facts([
      [t("standing.rejects"), limit.rejects_left === null ? t("standing.no_limit") : number(limit.rejects_left)],
      [t("standing.returns"), number(limit.returns_left)],
    ])),
    h("h2", null, t("standing.month")),
    facts([
      ...["offered", "accepted", "rejected", "expired"].map((what) => [t(`state.${what}`), number(own[what])]),
      [t("standing.acceptance"), own.acceptance_percent !== null && percent(own.acceptance_percent / 100)],
    ]),
    h("h2", null, t("standing.missed")),
    own.missed.length ? h("ul", { class: "rows" }, own.missed.map(missed)) : paragraph("lead", t("standing.none")),
  ];
}

const missed = ({ within_miles: miles, why, about }) =>
  h("li", { key: why + miles },
    t("standing.about", { n: about, within: distance(miles * KM_A_MILE) }), ": ", t(`missed.${why}`));
