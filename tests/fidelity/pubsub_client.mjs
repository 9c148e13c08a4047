// salesforce-pubsub-api-client, in each of its four ways to log in: reads N events and prints them as one JSON array.
import { generateKeyPairSync } from 'node:crypto';
import PubSubApiClient from 'salesforce-pubsub-api-client';

const { AUTH, HTTP, INSTANCE_URL, GRPC_TLS, ORG_ID, TOKEN, EVENTS, REPLAY_ID } = process.env;
const silent = { debug() {}, info() {}, warn: console.error, error: console.error };
const loginUrl = `http://localhost:${HTTP}`;
const logins = {
  'user-supplied': { accessToken: TOKEN, instanceUrl: INSTANCE_URL, organizationId: ORG_ID },
  'username-password': { loginUrl, username: 'fidelity@org.invalid', password: 'any', userToken: '' },
  'oauth-client-credentials': { loginUrl, clientId: 'any', clientSecret: 'any' },
  'oauth-jwt-bearer': {
    loginUrl,
    clientId: 'any',
    username: 'fidelity@org.invalid',
    privateKey: generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    }).privateKey,
  },
};

const client = new PubSubApiClient(
  { authType: AUTH, ...logins[AUTH], pubSubEndpoint: `localhost:${GRPC_TLS}`, rejectUnauthorizedSsl: false },
  silent,
);
await client.connect();

const seen = [];
const plain = (_key, value) => (typeof value === 'bigint' ? value.toString() : value);
const onMessage = (_subscription, kind, data) => {
  if (kind === 'event') {
    seen.push({ id: data.id, replayId: data.replayId, payload: data.payload });
    if (seen.length === Number(EVENTS)) {
      process.stdout.write(JSON.stringify(seen, plain), () => process.exit(0));
    }
  } else if (kind === 'error') {
    console.error(data);
    process.exit(1);
  }
};
if (REPLAY_ID) {
  client.subscribeFromReplayId('/data/LeadChangeEvent', onMessage, Number(EVENTS), Number(REPLAY_ID));
} else {
  client.subscribeFromEarliestEvent('/data/LeadChangeEvent', onMessage, Number(EVENTS));
}
