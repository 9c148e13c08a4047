// jsforce: SOAP login and client credentials, then the calls people make with it; prints what it saw as JSON.
import jsforce from 'jsforce';

const { HTTP, LEAD_ID } = process.env;
const loginUrl = `http://localhost:${HTTP}`;
const callOptions = { client: 'Fairturn' };

const conn = new jsforce.Connection({ loginUrl, version: '59.0', callOptions });
const user = await conn.login('fidelity@org.invalid', 'any');
const identity = await conn.identity();
const one = await conn.sobject('Lead').update({ Id: LEAD_ID, Rating: 'Hot' });
const made = await conn.sobject('Lead').create([
  { LastName: 'First', Company: 'J', Fairturn_Source_Id__c: 'js-1' },
  { LastName: 'Second' },
]);
const upserted = await conn.sobject('Lead').upsert({ LastName: 'First', City: 'Troy', Fairturn_Source_Id__c: 'js-1' }, 'Fairturn_Source_Id__c');
const found = await conn.query("SELECT Id, Name, Owner.Name FROM Lead WHERE Fairturn_Source_Id__c = 'js-1'");
const all = [];
await conn.query('SELECT Id FROM Lead').on('record', (record) => all.push(record.Id)).run({ autoFetch: true, maxFetch: 5000 });
const retrieved = await conn.sobject('Lead').retrieve(LEAD_ID);
const described = await conn.sobject('Lead').describe();
const limits = await conn.limits();
const removed = await conn.sobject('Lead').destroy(made[0].id);

const credentials = new jsforce.Connection({
  instanceUrl: loginUrl,
  oauth2: { clientId: 'any', clientSecret: 'any', loginUrl },
});
await credentials.authorize({ grant_type: 'client_credentials' });
const counted = await credentials.query('SELECT COUNT() FROM Lead');

const seen = {
  user, identity: identity.username, one, made, upserted, found, all: all.length, rating: retrieved.Rating,
  fields: described.fields.length, limits: limits.DailyApiRequests.Max, removed, counted: counted.totalSize,
};
process.stdout.write(JSON.stringify(seen));
