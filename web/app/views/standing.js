// How the reader's company stands: place in turn, room, limits, and why leads went elsewhere.

import { state } from "../store.js";
import { coded, percent, t } from "../words.js";
import { facts, h, paragraph, title } from "./parts.js";

export function standing() {
  return [
    title(t("standing.title")),
    paragraph("lead", t("standing.intro")),
    (state.standing?.pools ?? []).map(pool),
  ];
}

const pool = (one) => [];
