// PyTorch's stream of random numbers on the CPU: the same seed gives the same draws as torch.Generator.
//
// Matsumoto and Nishimura 1998, "Mersenne Twister" (MT19937); PyTorch makes exponential numbers of it by
// -log(1 - u), with u from the lower 53 bits of two outputs.

const N = 624;
const M = 397;

export class Generator {
  #state = new Uint32Array(N);
  #at = N;

  constructor(seed) {
    this.#state[0] = seed;
    for (let i = 1; i < N; i++) {
      const before = this.#state[i - 1] ^ (this.#state[i - 1] >>> 30);
      this.#state[i] = Math.imul(1812433253, before) + i;
    }
  }

  // 32 random bits.
  next() {
    if (this.#at === N) this.#twist();
    let y = this.#state[this.#at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  // A number in [0, 1) with 53 random bits.
  uniform() {
    const high = this.next() & 0x1fffff;
    return (high * 2 ** 32 + this.next()) / 2 ** 53;
  }

  // A number of the exponential distribution with mean 1.
  exponential() {
    return -Math.log1p(-this.uniform());
  }

  #twist() {
    const state = this.#state;
    for (let i = 0; i < N; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
      state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#at = 0;
  }
}
