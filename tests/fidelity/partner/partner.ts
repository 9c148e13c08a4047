// An app of a partner, on nothing but the generated client: hears of an offer, accepts it, sees whose it is, completes it.
import { client } from "./client/client.gen";
import { acceptOffer, completeOffer, getOffer, listOffers, loseOffer, rejectOffer, streamEvents } from "./client";

declare const process: { argv: string[]; stdout: { write(text: string): void } };

const [baseUrl, token] = process.argv.slice(2);
client.setConfig({ baseUrl, auth: () => token });
const must = { throwOnError: true } as const;

async function main(): Promise<void> {
  const ears = new AbortController();
  const line = await streamEvents({ query: { since: 0 }, signal: ears.signal });
  let offer_id = "";
  for await (const told of line.stream) {
    const event = told as unknown as { offer_id?: string; state?: string };
    if (event.offer_id && event.state === "offered") {
      offer_id = event.offer_id;
      ears.abort();
      break;
    }
  }

  const open = await listOffers({ query: { state: ["offered"], limit: 10 }, ...must });
  const path = { offer_id };
  const before = await getOffer({ path, ...must });
  const wrong = await rejectOffer({ path, body: { reason: "mood" } });
  const headers = { "Idempotency-Key": crypto.randomUUID(), "If-Match": before.response.headers.get("etag") ?? "" };
  const accepted = await acceptOffer({ path, headers, ...must });
  const again = await acceptOffer({ path, headers, ...must });
  const after = await getOffer({ path, ...must });
  const completed = await completeOffer({ path, ...must });
  const late = await loseOffer({ path, body: { reason: "other" } });

  process.stdout.write(
    JSON.stringify({
      listed: open.data.offers.map((offer) => offer.id),
      product: before.data.lead.attributes.product,
      hidden: before.data.contact,
      wrong: [wrong.error?.status, wrong.error?.field],
      accepted: [accepted.data.state, accepted.data.version],
      again: [again.data.version, again.response.headers.get("idempotency-replayed")],
      email: after.data.contact?.email,
      completed: completed.data.state,
      late: late.error?.type,
      offer_id,
    }),
  );
}

void main();
