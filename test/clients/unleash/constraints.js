// A constraint of each of Unleash's operators, and attributes that are within it about as often as not.
'use strict';

const { near: addressNear, NETWORKS } = require('./addresses');

// What is hashed stays ASCII: unleash-client hashes the low bytes of UTF-16, flags hash UTF-8.
const HASHED = ['userId', 'sessionId', 'tenantId'];
const ASCII = [...'abcAB12.-@'];
// (Case is ignored by Unicode's simple folding, as RE2 does; unleash-client compares lower case, to which σ and ς, s and ſ stay two.)
const LETTERS = [...'abcABkK1.- ', 'é', 'É', 'ß', 'ẞ', 'ж', 'Ж', 'ǆ', 'ǅ', '\u212a', '日', '😀'];
const BLANKS = [' ', '  ', '\t', '\n', '\r\n', '\v\f'];

const word = (random, letters = LETTERS, most = 3) => random.list(1, most, () => random.pick(letters)).join('');
const trimmedWord = (random, letters, most) => word(random, letters, most).trim() || 'a';
const otherCase = (random, text) =>
  [...text].map((letter) => (random.chance(50) ? letter.toLowerCase() : letter.toUpperCase())).join('');

// Unleash drops the blanks around values, and empty values. (Those of ASCII; JavaScript drops other blanks too. And a value of
// blanks only is an empty one for flags; unleash-client first drops the empty ones, then the blanks, so that one is in every text.)
const padded = (random, value) => (random.chance(15) ? random.pick(BLANKS) + value + random.pick(['', ...BLANKS]) : value);
const withEmpty = (random, values) => (random.chance(10) ? [...values, ''] : values);

const almost = (random, text, letters) =>
  random.oneOf(
    [2, () => otherCase(random, text)],
    [1, () => text + random.pick(letters)],
    [1, () => random.pick(letters) + text],
    [1, () => [...text].slice(1).join('')],
    [1, () => `${text} `],
    [1, () => ` ${text}`],
  );

// As a JSON number or boolean where that is the same text.
const typed = (random, text) => {
  if (random.chance(50)) return text;
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?\d+(\.\d+)?$/.test(text) && String(Number(text)) === text ? Number(text) : text;
};

const membership = {
  attributes: ['plan', 'country', 'plan', 'country', ...HASHED],
  values(random, attribute) {
    const letters = HASHED.includes(attribute) ? ASCII : LETTERS;
    const value = () =>
      random.oneOf(
        [6, () => trimmedWord(random, letters)],
        [1, () => String(random.below(20))],
        [1, () => random.pick(['10.5', '-3', 'true', 'false', 'null'])],
      );
    const most = random.chance(10) ? 200 : 4;
    return { values: withEmpty(random, random.list(random.chance(4) ? 0 : 1, most, () => padded(random, value()))) };
  },
  near(random, { values, contextName }) {
    const letters = HASHED.includes(contextName) ? ASCII : LETTERS;
    const value = values.length ? random.pick(values) : 'a';
    return random.oneOf(
      [50, () => typed(random, value.trim())],
      [5, () => value],
      [20, () => almost(random, value.trim(), letters)],
      [15, () => word(random, letters)],
      [10, () => undefined],
    );
  },
};

const strings = (placed) => ({
  attributes: ['plan', 'country', 'path'],
  values: (random) => ({ values: withEmpty(random, random.list(1, 3, () => padded(random, trimmedWord(random, LETTERS, 2)))) }),
  near(random, { values, caseInsensitive }) {
    const value = random.pick(values).trim();
    const whole = placed(random, random.chance(caseInsensitive ? 70 : 10) ? otherCase(random, value) : value);
    return random.oneOf(
      [50, () => whole],
      [15, () => almost(random, whole, LETTERS)],
      [25, () => word(random, LETTERS, 4)],
      [4, () => typed(random, String(random.below(200)))],
      [6, () => undefined],
    );
  },
});

// (JavaScript's Number() also reads '', '0x10' and 'Infinity', and what is beyond double precision as 0 or Infinity.)
const NUMBERS = [
  '0', '1', '-1', '99.9', '100', '100.0', '1e2', '0.1', '42', '-7.25', '3.5', '1000000', '0.30000000000000004', '9007199254740993',
  '2.5e-3', '1E3', '007', '-0', '+5', '.5', '5.',
];
const NO_NUMBERS = [
  'abc', '1,5', '12px', true, '--1', '1.2.3', '1 2', 'e5', '.', '-', '+', '5 apples', '+-5', '-+5', '++5', '1e', '1e5.5',
];
const numbers = {
  attributes: ['age', 'score'],
  values: (random) => ({ value: padded(random, random.pick(NUMBERS)) }),
  near(random, { value, operator }) {
    const number = Number(value);
    const either = (result) => (random.chance(50) ? result : String(result));
    const equal = operator.endsWith('EQ') ? 25 : 8;
    return random.oneOf(
      [equal, () => value],
      [equal, () => either(number)],
      [45, () => either(number + random.pick([1, -1, 0.1, -0.1, 100, -100, 1e-3, -1e-3]))],
      [15, () => random.pick(NUMBERS)],
      [8, () => random.pick(NO_NUMBERS)],
      [7, () => undefined],
    );
  },
};

// To the millisecond, as JavaScript's dates are. (JavaScript reads more than RFC 3339 has: 2026-12, T24:00, numbers; and it takes an
// empty currentTime for none.)
const NOON = Date.UTC(2026, 5, 15, 12);
const HOUR = 3600000;
const MOMENTS = [0, 500, 1000, HOUR, 12 * HOUR, -12 * HOUR, 36 * HOUR, -HOUR, 123, 366 * 24 * HOUR].map((after) => NOON + after);
const LONG_PAST = Date.UTC(1999, 11, 31);
const FAR_OFF = Date.UTC(2999, 0, 1);

function dateText(random, moment) {
  const offset = random.pick([0, 0, 60, -330, 345, 14 * 60, -12 * 60]);
  const local = new Date(moment + offset * 60000).toISOString();
  const [day, time] = [local.slice(0, 10), local.slice(11, 23)];
  if (time === '00:00:00.000' && offset === 0 && random.chance(50)) return day;
  const short = [time];
  if (time.endsWith('.000')) short.push(time.slice(0, 8));
  if (time.endsWith(':00.000')) short.push(time.slice(0, 5));
  if (time.endsWith('00')) short.push(time.slice(0, 10));
  const minutes = Math.abs(offset);
  const twoDigits = (number) => String(Math.floor(number)).padStart(2, '0');
  const zone = `${offset < 0 ? '-' : '+'}${twoDigits(minutes / 60)}${random.pick([':', ':', ''])}${twoDigits(minutes % 60)}`;
  const text = `${day}T${random.pick(short)}${offset === 0 ? random.pick(['Z', '', '+00:00']) : zone}`;
  if (new Date(text).getTime() !== moment) throw new Error(`${text} is not ${new Date(moment).toISOString()}`);
  return text;
}

const dates = {
  attributes: ['currentTime'],
  values: (random) => ({ value: dateText(random, random.chance(10) ? random.pick([LONG_PAST, FAR_OFF]) : random.pick(MOMENTS)) }),
  near(random, { value }) {
    const moment = Date.parse(value);
    return random.oneOf(
      [70, () => dateText(random, moment + random.pick([0, 1, -1, 999, -999, HOUR, -HOUR, 24 * HOUR, -24 * HOUR]))],
      [20, () => dateText(random, random.pick(MOMENTS))],
      [4, () => random.pick(['yesterday', '2026-13-01', '2026-06-15T25:00Z', 'now'])],
      [6, () => undefined],
    );
  },
};

// By precedence, so that neighbours are the near misses. (Flags refuse v1.2.3 in a constraint, and have no longest version.)
const VERSIONS = [
  '0.0.0-0', '0.0.0', '0.9.12', '1.0.0-alpha', '1.0.0-alpha.1', '1.0.0-alpha.beta', '1.0.0-beta', '1.0.0-beta.2', '1.0.0-beta.11',
  '1.0.0-rc.1', '1.0.0', '1.0.0+build.5', '1.0.1', '1.2.3-1', '1.2.3-2', '1.2.3-10', '1.2.3--', '1.2.3-0a', '1.2.3-A', '1.2.3-a',
  '1.2.3-a-b', '1.2.3', '1.2.3+001', '1.2.4-rc.1+b', '1.10.0', '2.0.0', '10.0.0', '10.0.1', '9007199254740990.0.0',
  '9007199254740991.0.0',
];
const NO_VERSIONS = [
  '1.2', '1.2.3.4', '1.2.3-01', '1.2.3-', '1.2.3+', 'latest', '', 1.2, '1.2.x', '1.2.3-a..b', '1.2.3 beta', '-1.2.3', '1.2.3-é',
];
const versions = {
  attributes: ['appVersion', 'osVersion'],
  values: (random) => ({ value: padded(random, random.pick(VERSIONS)) }),
  near(random, { value: given, operator }) {
    const value = given.trim();
    const position = VERSIONS.indexOf(value);
    const equal = operator.endsWith('EQ') ? 25 : 8;
    return random.oneOf(
      [equal, () => value],
      [equal, () => `${value.split('+')[0]}+${random.pick(['1', 'zz.9', '0-0'])}`],
      [35, () => VERSIONS[Math.min(Math.max(position + random.pick([-2, -1, 1, 2]), 0), VERSIONS.length - 1)]],
      [20, () => random.pick(VERSIONS)],
      [4, () => random.pick([`v${value}`, `=${value}`, `${value}.`, `0${value}`, ` ${value}`, `${value}\n`])],
      [4, () => random.pick(NO_VERSIONS)],
      [4, () => undefined],
    );
  },
};

// Each with texts that match, or nearly do.
const PATTERNS = [
  ['^a', 'ab', 'ba'], ['b$', 'ab', 'ba', 'b\n'], ['^[ab]+$', 'abba', 'abc'], ['a.c', 'xabcx', 'a\nc', 'a😀c', 'ac'],
  ['(?i)É', 'é', 'e'], ['\\d+', 'a1', '٣'],
  ['^\\w+@example\\.(com|org)$', 'ann@example.com', 'ann@example.net', 'zoë@example.com'], ['colou?r', 'color', 'colouur'],
  ['é|ж', 'xж', 'x'], ['\\p{Greek}', 'σ', 's'], ['^\\p{Lu}', 'Éa', 'éa'], ['^.{2}$', 'é😀', 'abc', 'e\u0301'],
  ['\\bab\\b', 'x ab y', 'cab'], ['a{2,3}b', 'aab', 'ab'], ['[^a-z]', 'abcD', 'abc'], ['(a|b)*c', 'abac', 'ab'], ['^$', '', ' '],
  ['\\.', 'a.b', 'ab'], ['\\x{1F600}', '😀', '😁'], ['[[:alpha:]]+1', 'ab1', 'é1'], ['(?s)a.b', 'a\nb', 'ab'],
  ['(?m)^b$', 'a\nb', 'a\ncb'], ['σ', 'Σ', 'ς', 's'], ['\\Aab\\z', 'ab', 'abc', 'ab\n'], ['k', 'K', '\u212a', 'x'],
  ['\\Qa.b\\E', 'a.b', 'axb'], ['(?P<n>a)(?:b)', 'ab', 'ba'], ['\\s', 'a b', 'a\u00a0b', 'ab'], ['ß', 'ẞ', 'ss'],
  ['[à-ï]', 'é', 'É', 'e'], ['(a+)+$', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab', 'aa'],
];
const patterns = {
  attributes: ['path', 'email'],
  values: (random) => ({ value: random.pick(PATTERNS)[0] }),
  near(random, { value, caseInsensitive }) {
    const [, ...texts] = PATTERNS.find(([pattern]) => pattern === value);
    const text = random.chance(45) ? texts[0] : random.pick(texts);
    return random.oneOf(
      [75, () => (random.chance(caseInsensitive ? 50 : 15) ? otherCase(random, text) : text)],
      [10, () => random.pick(random.pick(PATTERNS).slice(1))],
      [10, () => word(random, LETTERS, 4)],
      [5, () => undefined],
    );
  },
};

const networks = {
  attributes: ['remoteAddress', 'gateway'],
  values: (random) => ({ values: withEmpty(random, random.list(1, 3, () => padded(random, random.pick(NETWORKS)))) }),
  near: (random, { values, contextName }) => addressNear(random, random.pick(values.filter(Boolean)).trim(), contextName),
};

const OPERATORS = {
  IN: membership,
  NOT_IN: membership,
  STR_STARTS_WITH: strings((random, value) => value + (random.chance(80) ? word(random) : '')),
  STR_ENDS_WITH: strings((random, value) => (random.chance(80) ? word(random) : '') + value),
  STR_CONTAINS: strings((random, value) => word(random) + value + (random.chance(80) ? word(random) : '')),
  NUM_EQ: numbers,
  NUM_GT: numbers,
  NUM_GTE: numbers,
  NUM_LT: numbers,
  NUM_LTE: numbers,
  DATE_AFTER: dates,
  DATE_BEFORE: dates,
  SEMVER_EQ: versions,
  SEMVER_GT: versions,
  SEMVER_GTE: versions,
  SEMVER_LT: versions,
  SEMVER_LTE: versions,
  REGEX: patterns,
  IN_CIDR: networks,
};

const ignoresCase = (operator) => operator.startsWith('STR_') || operator === 'REGEX';

function constraint(random, operator, { inverted = false, caseInsensitive = false } = {}) {
  const contextName = random.pick(OPERATORS[operator].attributes);
  const made = { contextName, operator, ...OPERATORS[operator].values(random, contextName) };
  if (inverted || random.chance(30)) made.inverted = inverted;
  if (ignoresCase(operator) && (caseInsensitive || random.chance(30))) made.caseInsensitive = caseInsensitive;
  return made;
}

const anyConstraint = (random) =>
  constraint(random, random.pick(Object.keys(OPERATORS)), { inverted: random.chance(25), caseInsensitive: random.chance(40) });

const attributeNear = (random, given) => OPERATORS[given.operator].near(random, given);

module.exports = { ASCII, HASHED, OPERATORS, anyConstraint, attributeNear, constraint, ignoresCase, word };
