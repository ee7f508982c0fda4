// Random choices, the same ones for the same seed (mulberry32).
'use strict';

class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  // From 0 up to, but not including, 1.
  fraction() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count) {
    return Math.floor(this.fraction() * count);
  }

  chance(percent) {
    return this.fraction() * 100 < percent;
  }

  pick(array) {
    return array[this.below(array.length)];
  }

  // From least to most of what make() gives.
  list(least, most, make) {
    return Array.from({ length: least + this.below(most - least + 1) }, make);
  }

  // One of pairs [weight, function], called.
  oneOf(...pairs) {
    let left = this.fraction() * pairs.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, make] of pairs) {
      left -= weight;
      if (left < 0) return make();
    }
    return pairs[0][1]();
  }
}

module.exports = { Random };
