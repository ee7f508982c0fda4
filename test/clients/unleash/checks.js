// Random flags and contexts, evaluated by unleash-client in this process and by SQL on the same flags.
'use strict';

const { isDeepStrictEqual } = require('util');
const { Client } = require('pg');
const { Random } = require('./random');
const { ASCII, word } = require('./constraints');
const { HOSTNAME, contextFor, userId, world } = require('./flags');
const { configure, contextText, remove, valueOf } = require('./import');

process.env.HOSTNAME = HOSTNAME; // unleash-client's applicationHostname reads it when it is loaded
const { default: UnleashClient } = require('unleash-client/lib/client');
const { defaultStrategies } = require('unleash-client/lib/strategy');
const { normalizedStrategyValue } = require('unleash-client/lib/strategy/util');
const murmurHash3 = require('murmurhash3js');

const SIZE = { probesPerOperator: 25, probesPerStrategy: 50, mixedFlags: 400 };
const CONTEXTS_PER_FLAG = 100;
const BATCH = 5000;
const WANTED_EVALUATIONS = 100000;
const WANTED_OUTCOMES = 500;
const SHOWN_DIFFERENCES = 5;

const ENVIRONMENT = 'unleash-client';
const seed = Number(process.env.UNLEASH_SEED ?? Date.now() % 1000000);
let failed = 0;

function check(title, isRight) {
  if (!isRight) failed += 1;
  console.log(`${isRight ? 'ok' : 'not ok'} - unleash: ${title}`);
}

// ---- unleash-client -------------------------------------------------------------------------------------------------

// Whatever it leaves to chance draws from here, and is counted.
let draws = 0;
const chance = new Random(seed + 1);
Math.random = () => {
  draws += 1;
  return chance.fraction();
};

const unleashOf = ({ segments, flags }) =>
  new UnleashClient({ getToggle: (name) => flags.get(name)?.feature, getSegment: (id) => segments.get(id) }, defaultStrategies);

// The form of SQL's answer: without a variant, `value` is the fallback.
function variantOf(unleash, name, context, fallback) {
  const { enabled, name: variant, payload, feature_enabled: isOn } = unleash.getVariant(name, context);
  return enabled ? { variant, value: valueOf(payload), enabled: isOn } : { variant: null, value: fallback, enabled: isOn };
}

// Whether one answer is one that unleash-client gives: the one, or, where it draws lots, one that it gives within so many attempts.
function agrees(ask, answer, attempts) {
  draws = 0;
  const first = ask();
  if (isDeepStrictEqual(first, answer)) return true;
  for (let attempt = 0; draws > 0 && attempt < attempts; attempt += 1) {
    if (isDeepStrictEqual(ask(), answer)) return true;
  }
  return false;
}

// All evaluations: a flag and a context each.
function* evaluations(random, of) {
  for (const made of of.flags.values()) {
    for (let number = 0; number < CONTEXTS_PER_FLAG; number += 1) {
      yield { made, name: made.feature.name, context: contextFor(random, of, made), fallback: random.chance(50) ? null : 'fallback' };
    }
  }
}

// How often each operator and strategy said yes and no, alone in its flag.
function countOutcomes(unleash, all) {
  const counts = new Map();
  for (const { made, name, context } of all) {
    const key = made.probe ?? 'mixed flags';
    if (!counts.has(key)) counts.set(key, { true: 0, false: 0 });
    counts.get(key)[unleash.isEnabled(name, context, () => false)] += 1;
  }
  return counts;
}

function checkOutcomes(counts) {
  console.log('#   true  false  in unleash-client');
  for (const [key, { true: yes, false: no }] of counts) console.log(`# ${String(yes).padStart(6)} ${String(no).padStart(6)}  ${key}`);
  const few = [...counts].filter(([, { true: yes, false: no }]) => Math.min(yes, no) < WANTED_OUTCOMES).map(([key]) => key);
  if (few.length) console.log(`# too few outcomes: ${few.join(', ')}`);
  check(`each operator and strategy ${WANTED_OUTCOMES} times true and false`, few.length === 0);
}

// ---- SQL ------------------------------------------------------------------------------------------------------------

class Database {
  static async open() {
    const database = new Database();
    database.client = new Client();
    await database.client.connect();
    await database.client.query('SET client_min_messages = error');
    await database.client.query('CREATE EXTENSION IF NOT EXISTS pgcache');
    await database.client.query(`SET pgcache.environment = '${ENVIRONMENT}'`);
    return database;
  }

  async rows(sql, ...parameters) {
    return (await this.client.query(sql, parameters)).rows;
  }

  // One transaction of many calls.
  async callAll(calls) {
    await this.rows('BEGIN');
    for (const [sql, parameters] of calls) {
      try {
        await this.rows(sql, ...parameters);
      } catch (error) {
        throw new Error(`${sql} with ${JSON.stringify(parameters)}: ${error.message}`);
      }
    }
    await this.rows('COMMIT');
  }

  // Rows of a query over arrays, a batch at a time: `columns` are functions from an item to what it sends.
  async each(sql, items, columns, see) {
    for (let start = 0; start < items.length; start += BATCH) {
      const batch = items.slice(start, start + BATCH);
      const rows = await this.rows(sql, ...columns.map((column) => batch.map(column)));
      if (rows.length !== batch.length) throw new Error(`${rows.length} rows for ${batch.length}`);
      rows.forEach((row, number) => see(row, batch[number]));
    }
  }
}

// ---- comparisons ----------------------------------------------------------------------------------------------------

class Comparison {
  constructor(of) {
    this.of = of;
    this.unleash = unleashOf(of);
    this.differences = 0;
    this.compared = 0;
  }

  // One answer of SQL with what unleash-client gives.
  compare(what, name, context, ask, answer) {
    this.compared += 1;
    // A variant of weight 1 among five of 1000 is seen in so many but for once in e^40.
    if (agrees(ask, answer, this.differences < SHOWN_DIFFERENCES ? 200000 : 1000)) return;
    this.differences += 1;
    if (this.differences > SHOWN_DIFFERENCES) return;
    const { feature } = this.of.flags.get(name) ?? {};
    const related = [feature, ...(feature?.dependencies ?? []).map((parent) => this.of.flags.get(parent.feature).feature)].filter(Boolean);
    const ids = new Set(related.flatMap(({ strategies }) => strategies.flatMap(({ segments = [] }) => segments)));
    console.log(`# ${what} differs, seed ${seed}
#   flags: ${JSON.stringify(related)}
#   segments: ${JSON.stringify([...ids].map((id) => this.of.segments.get(id)))}
#   context: ${contextText(context)}
#   unleash-client: ${JSON.stringify(ask())}
#   SQL: ${JSON.stringify(answer)}`);
  }

  // Ends what has been compared since the last one.
  report(title) {
    check(`${title}: ${this.compared} compared, ${this.differences} differ`, this.compared > 0 && this.differences === 0);
    const { compared } = this;
    this.compared = 0;
    this.differences = 0;
    return compared;
  }

  isEnabled(name, context, fallback = false) {
    return this.unleash.isEnabled(name, context, () => fallback);
  }
}

async function compareOneByOne(database, comparison, all) {
  const sql = `SELECT flag_enabled(a.flag, a.context) AS is_on, v.variant, v.value, v.enabled
    FROM unnest($1::text[], $2::jsonb[], $3::jsonb[]) WITH ORDINALITY AS a (flag, context, fallback, number),
      LATERAL flag_variant(a.flag, a.context, a.fallback) v
    ORDER BY a.number`;
  const { unleash } = comparison;
  const columns = [({ name }) => name, ({ context }) => contextText(context), ({ fallback }) => fallback && JSON.stringify(fallback)];
  const variants = [];
  await database.each(sql, all, columns, ({ is_on: isOn, ...variant }, { name, context, fallback }) => {
    comparison.compare('flag_enabled', name, context, () => comparison.isEnabled(name, context), isOn);
    variants.push([name, context, fallback, variant]);
  });
  const evaluated = comparison.report('flag_enabled');
  check(`at least ${WANTED_EVALUATIONS} evaluations`, evaluated >= WANTED_EVALUATIONS);
  for (const [name, context, fallback, variant] of variants) {
    comparison.compare('flag_variant', name, context, () => variantOf(unleash, name, context, fallback), variant);
  }
  comparison.report('flag_variant, with payloads');
}

async function compareAllAtOnce(database, comparison, all, random) {
  const plain = all.filter(({ made }) => !made.explicit);
  const names = [...comparison.of.flags.keys()];
  for (let number = 0; number < 40; number += 1) {
    const { context } = random.pick(plain);
    const rows = await database.rows('SELECT flag, enabled, variant, value FROM flag_evaluate_all($1)', contextText(context));
    for (const { flag: name, ...answer } of rows) {
      if (comparison.of.flags.get(name)?.explicit) continue;
      comparison.compare('flag_evaluate_all', name, context, () => variantOf(comparison.unleash, name, context, null), answer);
    }
    comparison.compare('flag_evaluate_all', 'names', context, () => [...names].sort(), rows.map(({ flag: name }) => name));
  }
  comparison.report('flag_evaluate_all');
}

async function compareUsers(database, comparison, random) {
  const usesHost = ({ feature }) =>
    feature.strategies.some(({ name }) => name === 'applicationHostname') ||
    (feature.dependencies ?? []).some((parent) => usesHost(comparison.of.flags.get(parent.feature)));
  const names = [...comparison.of.flags.values()].filter((made) => !usesHost(made)).map(({ feature }) => feature.name);
  const pairs = random.list(20000, 20000, () => ({ name: random.pick(names), user: random.chance(2) ? '' : userId(random) }));
  const sql = `SELECT flag_enabled_for(a.flag, a.user_id) AS answer
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a (flag, user_id, number) ORDER BY a.number`;
  await database.each(sql, pairs, [({ name }) => name, ({ user }) => user], ({ answer }, { name, user }) => {
    comparison.compare('flag_enabled_for', name, { userId: user }, () => comparison.isEnabled(name, { userId: user }), answer);
  });
  comparison.report('flag_enabled_for');
}

async function compareUnknown(database, comparison, random) {
  const items = random.list(500, 500, () =>
    ({ name: `unknown ${random.below(5)}`, context: { userId: userId(random) }, fallback: random.chance(50) }));
  const sql = `SELECT flag_enabled(a.flag, a.context, a.fallback) AS by_context,
      flag_enabled_for(a.flag, a.context ->> 'userId', a.fallback) AS by_user, v.value, v.enabled
    FROM unnest($1::text[], $2::jsonb[], $3::boolean[]) WITH ORDINALITY AS a (flag, context, fallback, number),
      LATERAL flag_variant(a.flag, a.context, to_jsonb(a.fallback)) v
    ORDER BY a.number`;
  const columns = [({ name }) => name, ({ context }) => contextText(context), ({ fallback }) => fallback];
  await database.each(sql, items, columns, (answer, { name, context, fallback }) => {
    const ask = () => {
      const isOn = comparison.isEnabled(name, context, fallback);
      const given = { name: 'none', enabled: false, payload: fallback };
      const { payload, feature_enabled: enabled } = comparison.unleash.getVariant(name, context, given);
      return { by_context: isOn, by_user: isOn, value: payload, enabled };
    };
    comparison.compare('an unknown flag', name, context, ask, answer);
  });
  comparison.report('unknown flags');
}

async function compareExplanations(database, comparison, all, random) {
  const isCertain = ({ name, context }) => {
    draws = 0;
    comparison.isEnabled(name, context);
    return draws === 0;
  };
  const some = random.list(4000, 4000, () => random.pick(all)).filter(isCertain);
  const sql = `SELECT flag_explain(a.flag, a.context) -> 'enabled' AS explained, flag_enabled(a.flag, a.context) AS is_on
    FROM unnest($1::text[], $2::jsonb[]) WITH ORDINALITY AS a (flag, context, number) ORDER BY a.number`;
  const columns = [({ name }) => name, ({ context }) => contextText(context)];
  await database.each(sql, some, columns, ({ explained, is_on: isOn }, { name, context }) => {
    comparison.compare('flag_explain, and flag_enabled,', name, context, () => isOn, explained);
  });
  comparison.report('flag_explain says what flag_enabled says');
}

// Rollouts of all percentages for ids in the first and last thousandth of a bucket.
async function checkEdges(database, random) {
  const group = word(random, ASCII, 12);
  await database.rows('BEGIN');
  await database.rows("SELECT flag_set('edge ' || n, true, n, group_id => $1) FROM generate_series(0, 100) n", group);
  const ids = random.list(100000, 100000, () => userId(random) + random.below(1000))
    .filter((id) => [0, 999].includes(Math.floor(murmurHash3.x86.hash32(`${group}:${id}`) / 100) % 1000));
  const asked = ids.flatMap((id) => {
    const bucket = normalizedStrategyValue(id, group);
    return [{ id, percent: bucket - 1, isOn: false }, { id, percent: bucket, isOn: true }];
  });
  const sql = `SELECT flag_enabled_for(a.flag, a.id) AS is_on
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a (flag, id, number) ORDER BY a.number`;
  let wrong = 0;
  await database.each(sql, asked, [({ percent }) => `edge ${percent}`, ({ id }) => id], ({ is_on: found }, { id, percent, isOn }) => {
    if (found === isOn) return;
    wrong += 1;
    if (wrong <= SHOWN_DIFFERENCES) console.log(`# seed ${seed}: ${percent} % of group ${group} reach id ${id}: ${found}, not ${isOn}`);
  });
  check(`edges of buckets: ${asked.length} compared, ${wrong} differ`, asked.length > 0 && wrong === 0);
  await database.rows('ROLLBACK');
}

// Unleash's published buckets, and those of random ids and groups.
async function checkBuckets(database, random) {
  const name = 'buckets';
  const groups = ['gr1', 'groupX', ...random.list(6, 6, () => word(random, ASCII, 12))];
  const pairs = [
    ...random.list(2000, 2000, () => {
      const group = 2 + random.below(groups.length - 2);
      const id = word(random, ASCII, 20);
      return { group, id, bucket: normalizedStrategyValue(id, groups[group]) };
    }),
    { group: 0, id: '123', bucket: 73 },
    { group: 1, id: '999', bucket: 25 },
  ];
  const thousand = JSON.stringify(Array.from({ length: 1000 }, (_, number) => ({ name: `v${number + 1}`, weight: 1 })));
  await database.rows('BEGIN');
  await database.rows('SELECT flag_set($1, true)', name);
  for (const group of groups) await database.rows('SELECT flag_strategy_add($1, 50, group_id => $2)', name, group);
  for (const group of ['gr1', 'groupX']) await database.rows('SELECT flag_set($1, true), flag_variants_set($1, $2)', group, thousand);
  const sql = `SELECT (flag_explain('${name}', jsonb_build_object('userId', a.id))
        #>> ARRAY['strategies', a.strategy::text, 'rollout', 'bucket'])::numeric AS bucket
    FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS a (id, strategy, number) ORDER BY a.number`;
  let wrong = 0;
  await database.each(sql, pairs, [({ id }) => id, ({ group }) => group], ({ bucket: found }, { group, id, bucket }) => {
    if (found !== null && Math.floor(found) + 1 === bucket) return;
    wrong += 1;
    if (wrong <= SHOWN_DIFFERENCES) console.log(`# seed ${seed}: id ${id} in group ${groups[group]} is in bucket ${found}, not ${bucket}`);
  });
  check('buckets of rollouts', wrong === 0);
  const [chosen] = await database.rows(`SELECT (flag_variant('gr1', '{"userId": "123"}')).variant AS first,
      (flag_variant('groupX', '{"userId": "999"}')).variant AS second`);
  check('buckets of variants', isDeepStrictEqual({ ...chosen }, { first: 'v796', second: 'v260' }));
  await database.rows('ROLLBACK');
}

async function main() {
  const random = new Random(seed);
  const of = world(random, SIZE);
  const all = [...evaluations(random, of)];
  const comparison = new Comparison(of);
  console.log(`# seed ${seed} (UNLEASH_SEED=${seed} repeats it): ${of.flags.size} flags, ${all.length} contexts`);
  checkOutcomes(countOutcomes(comparison.unleash, all));
  if (!process.argv.includes('--without-server')) {
    const database = await Database.open();
    try {
      await database.callAll(remove(of)); // what a run that broke off has left
      await database.callAll(configure(of));
      await compareOneByOne(database, comparison, all);
      await compareAllAtOnce(database, comparison, all, random);
      await compareUsers(database, comparison, random);
      await compareUnknown(database, comparison, random);
      await compareExplanations(database, comparison, all, random);
      await checkBuckets(database, random);
      await checkEdges(database, random);
      await database.callAll(remove(of));
    } finally {
      await database.client.end();
    }
  }
  process.exitCode = failed ? 1 : 0;
}

main();
