// Byte-level BPE: text to tokens and back. Tokens are numbered by rank: 256 bytes, then merges.

// GPT-2's pre-tokens. JavaScript's \s has one character more than Unicode's White_Space.
const SPACE = "\\p{White_Space}";
const PATTERN = new RegExp(
  `'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+` +
    `|${SPACE}+(?!\\P{White_Space})|${SPACE}+`,
  "gu",
);

const encoder = new TextEncoder();

export class Bpe {
  // merges: a flat array with the two ranks that each merge joins.
  constructor(merges) {
    this.merges = merges;
    this.rankOf = new Map();
    for (let i = 0; i < merges.length / 2; i++) {
      this.rankOf.set(merges[2 * i] * 2 ** 24 + merges[2 * i + 1], 256 + i);
    }
    this.bytes = [];
    this.cache = new Map();
  }

  get size() {
    return 256 + this.merges.length / 2;
  }

  // The bytes of a token.
  bytesOf(rank) {
    if (rank < 256) return [rank];
    const at = 2 * (rank - 256);
    this.bytes[rank] ??= [...this.bytesOf(this.merges[at]), ...this.bytesOf(this.merges[at + 1])];
    return this.bytes[rank];
  }

  // The ranks of a text; with a size, of the vocabulary that the first merges make.
  encode(text, size = this.size) {
    return preTokens(text).flatMap((piece) => this.encodePiece(piece, size));
  }

  encodePiece(piece, size) {
    const key = `${size} ${piece}`;
    let ranks = this.cache.get(key);
    if (!ranks) {
      ranks = this.merge([...encoder.encode(piece)], size);
      if (this.cache.size > 20_000) this.cache.clear();
      this.cache.set(key, ranks);
    }
    return ranks;
  }

  // Applies the earliest merge among neighbours until none applies.
  merge(ranks, size) {
    for (;;) {
      let best = size;
      for (let i = 0; i + 1 < ranks.length; i++) {
        best = Math.min(best, this.rankOf.get(ranks[i] * 2 ** 24 + ranks[i + 1]) ?? size);
      }
      if (best === size) return ranks;
      const [left, right] = [this.merges[2 * (best - 256)], this.merges[2 * (best - 256) + 1]];
      const out = [];
      for (let i = 0; i < ranks.length; i++) {
        const joins = ranks[i] === left && ranks[i + 1] === right;
        out.push(joins ? best : ranks[i]);
        if (joins) i++;
      }
      ranks = out;
    }
  }

  decode(ranks) {
    return new TextDecoder().decode(new Uint8Array(ranks.flatMap((rank) => this.bytesOf(rank))));
  }
}

export const preTokens = (text) => text.match(PATTERN) ?? [];
