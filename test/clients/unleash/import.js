// What an importer makes of Unleash's flags: the calls that configure the same ones here.
'use strict';

const { HOSTNAME } = require('./flags');

const list = (text) => text.split(/\s*,\s*/).filter(Boolean);

// What a strategy of each kind is besides its constraints.
const MAPPED = {
  default: ({ groupId }) => ({ groupId }),
  flexibleRollout: ({ rollout, stickiness, groupId }) => ({ rollout, stickiness: stickiness || 'default', groupId: groupId || '' }),
  gradualRolloutUserId: ({ percentage, groupId }) => ({ rollout: percentage, stickiness: 'userId', groupId: groupId || '' }),
  gradualRolloutSessionId: ({ percentage, groupId }) => ({ rollout: percentage, stickiness: 'sessionId', groupId: groupId || '' }),
  gradualRolloutRandom: ({ percentage, groupId }) => ({ rollout: percentage, stickiness: 'random', groupId }),
  userWithId: ({ userIds, groupId }) => ({ groupId, constraint: { contextName: 'userId', operator: 'IN', values: list(userIds) } }),
  remoteAddress: ({ IPs, groupId }) => ({ groupId, constraint: { contextName: 'remoteAddress', operator: 'IN_CIDR', values: list(IPs) } }),
  applicationHostname: ({ hostNames, groupId }) =>
    ({ groupId, constraint: { contextName: 'hostname', operator: 'IN', values: list(hostNames.toLowerCase()) } }),
};

const PARSED = { string: String, csv: String, number: Number, json: JSON.parse };
const valueOf = (payload) => (payload ? PARSED[payload.type](payload.value) : null);

// Every other payload as a value.
const mappedVariants = (variants = []) =>
  variants.map(({ payload, ...rest }, number) => {
    if (!payload) return rest;
    return number % 2 ? { ...rest, value: valueOf(payload) } : { ...rest, payload };
  });

function* configure({ segments, flags }) {
  for (const { name, constraints } of segments.values()) yield ['SELECT flag_segment_set($1, $2)', [name, JSON.stringify(constraints)]];
  for (const { feature } of flags.values()) {
    const { name, enabled, strategies, variants, dependencies } = feature;
    yield ['SELECT flag_set($1, $2, prerequisites => $3)', [name, enabled, dependencies ? JSON.stringify(dependencies) : null]];
    for (const strategy of strategies) {
      const { rollout = 100, stickiness = 'default', groupId, constraint } = MAPPED[strategy.name](strategy.parameters);
      const constraints = [...strategy.constraints, ...(constraint ? [constraint] : [])];
      const own = mappedVariants(strategy.variants);
      // Unleash looks for the variants' stickiness in a rollout's parameters only.
      if (own.length && strategy.name !== 'flexibleRollout') own[0].stickiness ??= 'default';
      const group = groupId === name ? null : groupId ?? null;
      if (strategy === strategies[0] && !constraints.length && !own.length && !strategy.segments) {
        yield ['SELECT flag_set($1, rollout => $2, stickiness => $3, group_id => $4)', [name, rollout, stickiness, group]];
      } else {
        const names = (strategy.segments ?? []).map((id) => segments.get(id).name);
        yield [
          'SELECT flag_strategy_add($1, $2, $3, $4, $5, $6, $7)',
          [name, rollout, stickiness, group, JSON.stringify(constraints), names, JSON.stringify(own)],
        ];
      }
    }
    if (variants) yield ['SELECT flag_variants_set($1, $2)', [name, JSON.stringify(mappedVariants(variants))]];
  }
}

// Children first.
function* remove({ segments, flags }) {
  for (const { feature } of [...flags.values()].reverse()) yield ['SELECT flag_delete($1)', [feature.name]];
  for (const { name } of segments.values()) yield ['SELECT flag_segment_delete($1)', [name]];
}

// The context for the database: Unleash's strategies know their own host.
const contextText = (context) => JSON.stringify({ ...context, hostname: HOSTNAME });

module.exports = { configure, contextText, remove, valueOf };
