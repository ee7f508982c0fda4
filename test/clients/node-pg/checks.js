// What an application does with the cache, through node-pg's three ways to send a statement.
'use strict';

const { Client, escapeLiteral } = require('pg');

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
let failed = 0;

function check(title, isRight) {
  if (!isRight) failed += 1;
  console.log(`${isRight ? 'ok' : 'not ok'} - node-pg: ${title}`);
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// query(sql, parameters) gives all rows.
async function checksOf(way, query) {
  const value = async (sql, ...parameters) => Object.values((await query(sql, parameters))[0])[0];
  const sqlstate = async (sql, ...parameters) => {
    try {
      await query(sql, parameters);
    } catch (error) {
      return error.code;
    }
    return null;
  };
  const isRight = (title, condition) => check(`${title} (${way})`, condition);
  const key = `node-pg:${way}:`;
  const profile = { name: 'Zoë', tags: [1, 2.5, null, true] };

  await value('SELECT cache_set($1, $2, $3)', `${key}json`, JSON.stringify(profile), '15 minutes');
  isRight('json', same(await value('SELECT cache_get($1)', `${key}json`), profile));
  await value('SELECT cache_set($1, $2)', `${key}array`, JSON.stringify([1, 'two']));
  isRight('a JSON array', same(await value('SELECT cache_get($1)', `${key}array`), [1, 'two']));
  await value('SELECT cache_set_text($1, $2)', `${key}text`, "grüße, 'quoted' \\ \n");
  isRight('text', (await value('SELECT cache_get_text($1)', `${key}text`)) === "grüße, 'quoted' \\ \n");
  await value('SELECT cache_set_bytes($1, $2)', `${key}bytes`, everyByte);
  isRight('bytes, all values', everyByte.equals(await value('SELECT cache_get_bytes($1)', `${key}bytes`)));
  isRight('null on a miss', (await value('SELECT cache_get($1)', `${key}none`)) === null);

  await value('SELECT cache_set_text($1, $2, $3)', `${key}ttl`, 'x', '90 seconds');
  const left = await value('SELECT cache_ttl($1)', `${key}ttl`);
  isRight('ttl as a string', left.minutes === 1 && left.seconds > 0);
  await value('SELECT cache_set_text($1, $2, ttl => $3)', `${key}ttl`, 'x', left);
  isRight('ttl as an interval that was read', (await value('SELECT cache_ttl($1)', `${key}ttl`)).minutes === 1);

  await value('SELECT cache_set_many($1, $2)', JSON.stringify({ [`${key}a`]: 1, [`${key}b`]: { n: 2 } }), '1 minute');
  const rows = await query('SELECT key, value FROM cache_get_many($1)', [[`${key}a`, `${key}none`, `${key}b`]]);
  isRight('many, by an array', same(rows, [{ key: `${key}a`, value: 1 }, { key: `${key}b`, value: { n: 2 } }]));
  const stored = await value('SELECT cache_set_many_text($1, $2)', [`${key}c`, `${key}d`], ['x', 'y']);
  isRight('many texts, by two arrays', stored === '2');

  await value('SELECT cache_delete($1)', `${key}counter`);
  await value('SELECT cache_incr($1)', `${key}counter`);
  const total = await value('SELECT cache_incr($1, $2, ttl => $3)', `${key}counter`, 2n ** 62n, '1 day');
  isRight('incr, a bigint as a string', total === String(2n ** 62n + 1n));

  const [entry] = await query('SELECT found, version FROM cache_entry($1)', [`${key}json`]);
  const again = 'SELECT cache_set($1, $2, if_version => $3)';
  isRight('if_version, 64 bits',
    typeof entry.version === 'string' && BigInt(entry.version) > 2n ** 32n &&
    (await value(again, `${key}json`, '1', entry.version)) === true);
  isRight('if_version, out of date', (await value(again, `${key}json`, '2', entry.version)) === false);

  await value('SELECT rate_limit_reset($1)', `${key}limit`);
  const limit = 'SELECT allowed, remaining, retry_after, retry_after_ms FROM rate_limit($1, $2, $3, block => $4)';
  const given = [`${key}limit`, 1, '1 hour', '90 minutes'];
  const [granted] = await query(limit, given);
  isRight("a rate limit's row", granted.allowed === true && granted.remaining === '0' && granted.retry_after_ms === '0');
  const [denied] = await query(limit, given);
  isRight('its denial', denied.allowed === false && denied.retry_after.hours === 1 && denied.retry_after_ms === '5400000');
  isRight('rate_limit_allowed', (await value('SELECT rate_limit_allowed($1, $2, $3)', `${key}limit`, 2n ** 40n, '1 s')) === false);
  isRight('its reset', (await value('SELECT rate_limit_reset($1)', `${key}limit`)) === '1');

  isRight('no key: 22004', (await sqlstate('SELECT cache_set($1, $2)', null, '1')) === '22004');
  isRight('empty key: 22023', (await sqlstate('SELECT cache_get($1)', '')) === '22023');
  isRight('another kind: 42804', (await sqlstate('SELECT cache_get($1)', `${key}bytes`)) === '42804');
  isRight('overflow: 22003', (await sqlstate('SELECT cache_incr($1, $2)', `${key}counter`, 2n ** 62n)) === '22003');
}

// The text of a parameter as a literal of the statement.
function literal(value) {
  if (value === null) return 'NULL';
  if (Buffer.isBuffer(value)) return `'\\x${value.toString('hex')}'`;
  if (Array.isArray(value)) return `ARRAY[${value.map(literal)}]`;
  return escapeLiteral(typeof value === 'object' ? value.toPostgres() : String(value));
}

async function main() {
  const client = new Client();
  await client.connect();
  await client.query('SET client_min_messages = warning');
  await client.query('CREATE EXTENSION IF NOT EXISTS pgcache');
  await checksOf('simple', async (sql, parameters) =>
    (await client.query(sql.replace(/\$(\d)/g, (_, number) => literal(parameters[number - 1])))).rows);
  await checksOf('parameters', async (sql, parameters) => (await client.query(sql, parameters)).rows);
  const prepared = async (text, values) => (await client.query({ name: text.slice(0, 60), text, values })).rows;
  await checksOf('prepared', prepared);
  await client.query("SELECT cache_delete_matching('node-pg:%')");
  await client.end();
  process.exitCode = failed ? 1 : 0;
}

main();
