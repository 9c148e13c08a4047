// An offer as the views want it, from the API's answer; the only file that knows the fields of both.

import { t } from "./words.js";

/** The offer of an API answer, with what was known of it before: a list holds no contact data, one offer may. */
export function offerFrom(api, before = null) {
  const { product, size, ...more } = api.lead.attributes;
  const open = api.state === "accepted" || api.state === "completed";
  return {
    id: api.id,
    state: api.state,
    version: api.version,
    city: api.lead.city,
    region: api.lead.region,
    postalCode: api.lead.postal_code,
    country: api.lead.country,
    product,
    size,
    more: Object.entries(more).filter(([, value]) => value !== null && value !== ""),
    km: api.distance_km,
    offeredAt: api.offered_at,
    expiresAt: api.expires_at,
    endsAt: endsAt(api),
    acceptedAt: api.accepted_at,
    endedAt: api.ended_at,
    workBy: api.work_by,
    reason: api.reason,
    choices: api.choices,
    assignee: api.assignee_id,
    contact: open ? (api.contact ? contactFrom(api.contact) : (before?.contact ?? null)) : null,
  };
}

/** A lead open to all who let it expire; taken by the id of the offer that expired. */
export function openLeadFrom(api) {
  const { product, size } = api.lead.attributes;
  const { city, region, postal_code: postalCode } = api.lead;
  return { id: api.offer_id, until: api.open_until, km: api.distance_km, city, region, postalCode, product, size };
}

/** The deadline by this phone's clock, which may go wrong: the service says how many seconds are left. */
const endsAt = (api) => Date.now() + api.seconds_left * 1000;

const contactFrom = (who) => ({
  name: who.name,
  company: who.company,
  phone: who.phone,
  email: who.email,
  address: [who.street, [who.postal_code, who.city].filter(Boolean).join(" "), who.region].filter(Boolean).join(", "),
  point: Number.isFinite(who.lat) && Number.isFinite(who.lon) ? [who.lat, who.lon] : null,
});

export const place = (offer) => [offer.postalCode, offer.city, offer.region].filter(Boolean).join(" ");

export const product = (offer) =>
  [offer.product, offer.size].filter((part) => part !== undefined && part !== null && part !== "").join(", ") ||
  t("offer.some", { place: offer.city || offer.region || place(offer) });

/** Where the customer lives, on a map that needs no account. */
export function mapLink(who) {
  if (who.address) return `https://www.openstreetmap.org/search?query=${encodeURIComponent(who.address)}`;
  return who.point && `https://www.openstreetmap.org/?mlat=${who.point[0]}&mlon=${who.point[1]}#map=17/${who.point.join("/")}`;
}
