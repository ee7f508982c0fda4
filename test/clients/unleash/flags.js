// Random flags as Unleash's server hands them out, and contexts for them.
'use strict';

const { ASCII, HASHED, OPERATORS, anyConstraint, attributeNear, constraint, ignoresCase, word } = require('./constraints');

const HOSTNAME = 'node-7.example';
const HOSTNAMES = ['node-1.example', HOSTNAME.toUpperCase(), 'Node-8.example', 'node-7'];
const OLD_NETWORKS = ['10.0.0.0/8', '192.168.1.77', '172.16.0.0/12', '203.0.113.128/25', '10.1.2.3/16'];
const STANDARD = ['userId', 'sessionId', 'remoteAddress', 'currentTime'];
// (Whole ones: flags cut buckets finer.)
const PERCENTAGES = [0, 1, 5, 10, 25, 33, 50, 50, 66, 75, 90, 99, 100];

const userId = (random) =>
  random.oneOf(
    [4, () => `u${random.below(300)}`],
    [3, () => String(1 + random.below(1000))],
    [1, () => `${word(random, ASCII, 8)}@example.com`],
    [1, () => Math.floor(random.fraction() * 2 ** 32).toString(16).padStart(8, '0').repeat(4)],
  );

const groupId = (random, name) => random.oneOf([4, () => name], [2, () => `group ${random.below(4)}`], [1, () => '']);

// unleash-client's `default` looks for ids at the top level only, and takes the number 0 for none; its variants, for strings only.
// So numbers and `properties` are for the ids of flags that name what they stick to: `explicit` ones.
const stickiness = (random, explicit) => {
  const named = ['userId', 'sessionId', 'tenantId', 'companyId', 'nobody'];
  return random.pick(explicit ? named : [undefined, 'default', 'default', 'default', ...named]);
};

const gradualRollout = (random, name) => ({
  parameters: { percentage: String(random.pick(PERCENTAGES)), groupId: groupId(random, name) },
});

// Strategies of each kind. Those that draw lots do so at 0 and 100 % only. (Where a named attribute is missing, unleash-client says no,
// and flags give the fallback, so that is false.)
const STRATEGIES = {
  default: () => ({ parameters: {} }),
  flexibleRollout(random, name, explicit) {
    const chance = !explicit && random.chance(6);
    const percent = chance ? random.pick([0, 100]) : random.pick(PERCENTAGES);
    const parameters = { rollout: random.chance(70) ? String(percent) : percent, groupId: groupId(random, name) };
    const sticky = chance ? 'random' : stickiness(random, explicit);
    if (sticky) parameters.stickiness = sticky;
    return { parameters };
  },
  gradualRolloutUserId: gradualRollout,
  gradualRolloutSessionId: gradualRollout,
  gradualRolloutRandom: (random) => ({ parameters: { percentage: random.pick(['0', '100']) } }),
  userWithId: (random) => ({ parameters: { userIds: random.list(1, 60, () => userId(random)).join(random.pick([',', ', ', ' ,'])) } }),
  // Unleash knows IPv4 networks only here; IN_CIDR knows both.
  remoteAddress: (random) => ({
    parameters: { IPs: random.list(1, 3, () => random.pick(OLD_NETWORKS)).join(', ') },
  }),
  applicationHostname: (random) => ({
    parameters: { hostNames: random.list(1, 3, () => random.pick(HOSTNAMES)).join(',') },
  }),
};
// Those whose ids unleash-client takes as they are: strings at the top level.
const TAKES_ANY_ID = ['default', 'flexibleRollout', 'gradualRolloutRandom', 'applicationHostname'];

const PAYLOADS = {
  string: (random) => random.pick(['#00f', '', 'grüße "quoted" \\ \n', ' 12 ', '{"no": "object"}', word(random)]),
  csv: (random) => random.pick(['a,b,c', '1', 'x,"y,z"']),
  number: (random) => random.pick(['0', '42', '-7.25', '1e3', '99.90', '0.1', '123456789012']),
  json: (random) =>
    random.pick(['{"color": "blue", "size": [1, 2.50, null, true]}', '[]', '"text"', '12', 'null', 'false', '{"b": {"a": "ß"}, "a": {}}']),
};

function variants(random, explicit) {
  const named = ['userId', 'sessionId', 'tenantId'];
  const sticky = random.pick(explicit ? [...named, 'companyId', 'nobody'] : [undefined, undefined, 'default', 'random', ...named]);
  const made = random.list(1, 5, () => ({ weight: random.pick([0, 1, 10, 50, 100, 333, 334, 1000]) }));
  made.forEach((variant, number) => {
    variant.name = `v${number}`;
    variant.weightType = random.pick(['variable', 'fix']);
    if (sticky) variant.stickiness = number === 0 || random.chance(80) ? sticky : 'sessionId';
    if (random.chance(75)) {
      const type = random.pick(Object.keys(PAYLOADS));
      variant.payload = { type, value: PAYLOADS[type](random) };
    }
    if (random.chance(25)) {
      variant.overrides = random.list(1, 2, () => {
        const contextName = random.pick(['userId', 'plan', 'tenantId', 'tier']);
        return { contextName, values: random.list(1, 3, () => (contextName === 'userId' ? userId(random) : String(random.below(12)))) };
      });
    }
  });
  if (made.every(({ weight }) => weight === 0)) random.pick(made).weight = 100;
  return made;
}

function strategy(random, name, kind, explicit) {
  const made = { name: kind, ...STRATEGIES[kind](random, name, explicit), constraints: [] };
  if (random.chance(kind === 'flexibleRollout' ? 25 : 5)) {
    made.variants = variants(random, explicit);
    // Without one unleash-client hashes the text "undefined"; Unleash always sends one.
    made.parameters.groupId ??= groupId(random, name);
  }
  return made;
}

// A flag is what Unleash sends, and what the test knows of it: which outcomes are counted (`probe`), `explicit` as above.
const flag = (feature, known = {}) => ({ feature: { enabled: true, strategies: [], ...feature }, explicit: false, ...known });

function operatorProbes(random, count) {
  const made = [];
  for (const operator of Object.keys(OPERATORS)) {
    for (const inverted of [false, true]) {
      for (const caseInsensitive of ignoresCase(operator) ? [false, true] : [false]) {
        const probe = `${operator}${inverted ? ' inverted' : ''}${caseInsensitive ? ' caseInsensitive' : ''}`;
        for (let number = 0; number < count; number += 1) {
          const constraints = [constraint(random, operator, { inverted, caseInsensitive })];
          made.push(flag({ name: `${probe} ${number}`, strategies: [{ name: 'default', parameters: {}, constraints }] }, { probe }));
        }
      }
    }
  }
  return made;
}

function strategyProbes(random, count) {
  const made = [];
  for (const kind of Object.keys(STRATEGIES)) {
    for (let number = 0; number < count; number += 1) {
      const name = `${kind} ${number}`;
      const one = strategy(random, name, kind, false);
      if (kind === 'default' || random.chance(20)) one.constraints = [anyConstraint(random)];
      made.push(flag({ name, strategies: [one] }, { probe: `strategy ${kind}` }));
    }
  }
  return made;
}

function mixed(random, name, segments, explicit) {
  const kinds = explicit ? TAKES_ANY_ID : ['flexibleRollout', 'flexibleRollout', 'flexibleRollout', ...Object.keys(STRATEGIES)];
  const made = flag({ name, enabled: random.chance(92) }, { explicit });
  made.feature.strategies = random.list(0, 4, () => {
    const one = strategy(random, name, random.pick(kinds), explicit);
    one.constraints = random.list(0, random.chance(70) ? 2 : 4, () => anyConstraint(random));
    if (random.chance(30)) one.segments = [...new Set(random.list(1, 3, () => random.pick(segments).id))];
    return one;
  });
  if (random.chance(50)) made.feature.variants = variants(random, explicit);
  return made;
}

// (Unleash looks at parents without parents only.)
function withParents(random, made, parents) {
  const chosen = new Set(random.list(1, 2, () => random.pick(parents.filter(({ explicit }) => explicit === made.explicit))));
  made.feature.dependencies = [...chosen].map(({ feature: { name, variants: some } }) =>
    random.oneOf(
      [3, () => ({ feature: name })],
      [2, () => ({ feature: name, enabled: true })],
      [some ? 3 : 0, () => ({ feature: name, enabled: true, variants: random.list(1, 2, () => `v${random.below(4)}`) })],
      [3, () => ({ feature: name, enabled: false })],
    ));
  return made;
}

// All flags with the segments they share.
function world(random, { probesPerOperator, probesPerStrategy, mixedFlags }) {
  const segments = random.list(12, 12, () => ({ constraints: random.list(0, 2, () => anyConstraint(random)) }));
  segments.forEach((segment, number) => Object.assign(segment, { id: number + 1, name: `unleash-client segment ${number + 1}` }));
  const parents = random.list(30, 30, () => null).map((_, number) => mixed(random, `parent ${number}`, segments, number % 4 === 0));
  const others = random.list(mixedFlags, mixedFlags, () => null).map((_, number) => {
    const made = mixed(random, `mixed ${number}`, segments, random.chance(15));
    return random.chance(25) ? withParents(random, made, parents) : made;
  });
  const flags = [...parents, ...operatorProbes(random, probesPerOperator), ...strategyProbes(random, probesPerStrategy), ...others];
  return {
    segments: new Map(segments.map((segment) => [segment.id, segment])),
    flags: new Map(flags.map((one) => [one.feature.name, one])),
  };
}

// What a context could be near to: all that the flag, its segments and its parents ask of one.
function wishes({ segments, flags }, { feature }) {
  const found = [];
  const addOverrides = (list) => {
    for (const { overrides = [] } of list ?? []) found.push(...overrides.map((override) => ({ operator: 'IN', ...override })));
  };
  for (const { parameters, constraints, segments: ids = [], variants: own } of feature.strategies) {
    found.push(...constraints, ...ids.flatMap((id) => segments.get(id).constraints));
    if (parameters.userIds) found.push({ contextName: 'userId', operator: 'IN', values: parameters.userIds.split(/\s*,\s*/) });
    if (parameters.IPs) found.push({ contextName: 'remoteAddress', operator: 'IN_CIDR', values: parameters.IPs.split(', ') });
    addOverrides(own);
  }
  addOverrides(feature.variants);
  for (const parent of feature.dependencies ?? []) found.push(...wishes({ segments, flags }, flags.get(parent.feature)));
  return found;
}

function put(random, context, name, value, explicit) {
  delete context[name];
  delete context.properties[name];
  if (value === undefined) return;
  const isId = name === 'userId' || name === 'sessionId';
  if (STANDARD.includes(name) && !(isId && explicit)) {
    context[name] = isId ? String(value) : value;
  } else {
    random.oneOf(
      [60, () => { context[name] = value; }],
      [30, () => { context.properties[name] = value; }],
      [5, () => { context[name] = null; context.properties[name] = value; }],
      [5, () => { context[name] = value; context.properties[name] = 'not this one'; }],
    );
  }
}

function contextFor(random, of, made) {
  const context = { properties: {} };
  const maybe = (percent, name, value) => {
    if (random.chance(percent)) put(random, context, name, value(), made.explicit);
  };
  const id = () => (made.explicit && random.chance(30) ? random.below(50) : random.chance(4) ? '' : userId(random));
  maybe(85, 'userId', id);
  maybe(65, 'sessionId', id);
  const someNetwork = { contextName: 'remoteAddress', operator: 'IN_CIDR', values: ['10.1.2.3/16'] };
  maybe(50, 'remoteAddress', () => attributeNear(random, someNetwork) ?? '');
  maybe(70, 'tenantId', () => random.pick(['', 'x', true, 0, 7.5, ...random.list(6, 6, () => random.below(100)), userId(random)]));
  maybe(70, 'companyId', () => random.below(1000));
  const near = wishes(of, made);
  // In another order each time: the last wish for an attribute counts.
  near.map((wish) => [random.fraction(), wish]).sort(([a], [b]) => a - b)
    .forEach(([, wish]) => put(random, context, wish.contextName, attributeNear(random, wish), made.explicit));
  // (As text for unleash-client, and not there for flags: no constraint asks for these.)
  if (random.chance(3)) context.unused = random.pick([[1], { a: 1 }, null]);
  if (random.chance(3)) context.properties = random.pick([null, undefined, context.properties]);
  return context;
}

module.exports = { HASHED, HOSTNAME, STRATEGIES, contextFor, userId, world };
