// Networks, and addresses within or just without.
'use strict';

const NETWORKS = [
  '10.0.0.0/8', '10.1.2.3/16', '192.168.1.77/24', '192.168.1.77', '10.0.0.0/31', '172.16.0.0/12', '192.168.1.128/25', '203.0.113.7/32',
  '255.255.255.255', '128.0.0.0/1', '0.0.0.0/0', '2001:db8::/32', '2001:DB8::1', '::1', 'fe80::/10', '2001:db8::8000/113',
  '::ffff:10.0.0.0/104', '2001:db8:0:1:ff::7/64', '::ffff:a00:1', '1:2:3:4:5:6:7:8/127', '::/0',
];
// (unleash-client also takes one with a zone, fe80::1%eth0, for an address.)
const NO_ADDRESSES = [
  '10.0.0', '010.0.0.1', '256.1.1.1', '10.0.0.1.', '::g', '1::2::3', '[::1]', 'localhost', '', '10.0.0.1 ', '12345::', ':1', '::1.2.3',
  '1:2:3:4:5:6:7:8:9', '::ffff:010.0.0.1', 167772161,
];

function bitsOf(address) {
  const quad = address.match(/^(.*?)(\d+)\.(\d+)\.(\d+)\.(\d+)$/);
  if (quad && quad[1] === '') return quad.slice(2).reduce((bits, part) => (bits << 8n) | BigInt(part), 0n);
  const hex = quad
    ? `${quad[1]}${(Number(quad[2]) * 256 + Number(quad[3])).toString(16)}:${(Number(quad[4]) * 256 + Number(quad[5])).toString(16)}`
    : address;
  const [head, tail] = hex.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const groups = tail ? [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail] : head;
  return groups.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n);
}

const quadOf = (bits) => [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 255n).join('.');

function sextetsOf(random, bits) {
  const groups = Array.from({ length: 8 }, (_, number) => ((bits >> BigInt(112 - 16 * number)) & 0xffffn).toString(16));
  let text = groups.join(':');
  if (random.chance(60)) text = text.replace(/(^|:)0(:0)+(:|$)/, '::');
  if (random.chance(20)) text = text.toUpperCase();
  if (random.chance(10)) text = groups.map((group) => group.padStart(4, '0')).join(':');
  if (random.chance(15)) text = `${groups.slice(0, 6).join(':')}:${quadOf(bits & 0xffffffffn)}`;
  return text;
}

function near(random, network, contextName) {
  const [address, length] = network.split('/');
  const width = address.includes(':') ? 128 : 32;
  const fixed = BigInt(length ?? width);
  const host = BigInt(width) - fixed;
  const noise = BigInt(`0b${Array.from({ length: width }, () => random.below(2)).join('')}`);
  const within = ((bitsOf(address) >> host) << host) | (noise & ((1n << host) - 1n));
  const text = (bits) => (width === 32 ? quadOf(bits) : sextetsOf(random, bits));
  const otherLength = () => Math.max(0, Math.min(width, Number(fixed) + random.pick([-8, -1, 0, 1, 8])));
  return random.oneOf(
    [50, () => text(within)],
    // The last bit of the network turned round, or another one.
    [20, () => text(fixed > 0n ? within ^ (1n << host) : within)],
    [10, () => text(fixed > 0n ? within ^ (1n << (host + BigInt(random.below(Number(fixed))))) : within)],
    [8, () => (width === 32 ? `::ffff:${quadOf(within)}` : quadOf(within & 0xffffffffn))],
    [7, () => random.pick(NO_ADDRESSES)],
    // (Unleash's own strategy of this name looks at these in another way than its IN_CIDR.)
    [contextName === 'remoteAddress' ? 0 : 5, () => `${text(within)}/${otherLength()}`],
    [5, () => undefined],
  );
}

module.exports = { NETWORKS, near };
