// A decoder in plain typed arrays, one token at a time, with a key/value cache. The file is what
// lmcore.generation.web_export writes; names of weights and options are those of lmcore.

import { Bpe } from "./bpe.mjs";

// ---- the file

const ARRAYS = { F32: Float32Array, I8: Int8Array, I32: Int32Array };

export function readSafetensors(buffer) {
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(entries)) {
    // A copy, since an array of four-byte numbers cannot start anywhere.
    tensors[name] = { shape, values: new ARRAYS[dtype](buffer.slice(8 + size + start, 8 + size + end)) };
  }
  return { metadata, tensors };
}

// Matrices come as int8 with a scale for each row, and are computed with in float32.
function dequantised(tensors, name) {
  const { values, shape } = tensors[name];
  const scale = tensors[`${name}.scale`]?.values;
  if (!scale) return values;
  const columns = shape[1];
  return Float32Array.from(values, (value, i) => value * scale[Math.trunc(i / columns)]);
}

// ---- the parts of a block

// out = matrix · x + bias, the matrix row by row.
export function linear(matrix, x, out, bias) {
  const n = x.length;
  for (let row = 0, at = 0; row < out.length; row++, at += n) {
    let sum = bias ? bias[row] : 0;
    for (let i = 0; i < n; i++) sum += matrix[at + i] * x[i];
    out[row] = sum;
  }
  return out;
}

export function rmsNorm(x, { weight }, eps) {
  let square = 0;
  for (const value of x) square += value * value;
  const scale = 1 / Math.sqrt(square / x.length + eps);
  return x.map((value, i) => value * scale * weight[i]);
}

export function layerNorm(x, { weight, bias }, eps) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  let square = 0;
  for (const value of x) square += (value - mean) ** 2;
  const scale = 1 / Math.sqrt(square / x.length + eps);
  return x.map((value, i) => (value - mean) * scale * weight[i] + (bias ? bias[i] : 0));
}

const NORMS = { layer: layerNorm, rms: rmsNorm, none: (x) => x };

// The error function, by a series of positive terms.
export function erf(x) {
  if (Math.abs(x) > 5) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-12; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = {
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x) => x * sigmoid(x),
  relu: (x) => Math.max(0, x),
  relu2: (x) => Math.max(0, x) ** 2,
};

function activate(x, name) {
  if (name !== "swiglu") return x.map(ACTIVATIONS[name]);
  const half = x.length / 2;
  return x.subarray(0, half).map((gate, i) => gate * sigmoid(gate) * x[half + i]);
}

// RoPE: pair k of each head turns by base^(-2k / size) radians for each position.
export function rotate(heads, position, size, base) {
  for (let at = 0; at < heads.length; at += 2) {
    const angle = position * base ** (-(at % size) / size);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [even, odd] = [heads[at], heads[at + 1]];
    heads[at] = even * cos - odd * sin;
    heads[at + 1] = even * sin + odd * cos;
  }
}

export function softmax(logits) {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const weights = Float64Array.from(logits, (value) => Math.exp(value - largest));
  const sum = weights.reduce((total, value) => total + value, 0);
  return weights.map((value) => value / sum);
}

// ---- the model

export class Gpt {
  constructor(buffer) {
    const { metadata, tensors } = readSafetensors(buffer);
    const { config, eos_id, about } = JSON.parse(metadata.lmcore);
    Object.assign(this, { config, about, eosId: eos_id });
    this.bpe = new Bpe(tensors["tokenizer.merges"].values);
    this.idOfRank = tensors["tokenizer.ids"].values;
    this.rankOfId = new Map(Array.from(this.idOfRank, (id, rank) => [id, rank]));
    const part = (prefix) =>
      Object.fromEntries(
        ["weight", "bias"]
          .filter((name) => tensors[`${prefix}.${name}`])
          .map((name) => [name, dequantised(tensors, `${prefix}.${name}`)]),
      );
    this.embedding = part("token_embedding").weight;
    this.positions = part("position_embedding").weight;
    this.head = config.tie_embeddings ? this.embedding : part("head").weight;
    this.norm = part("norm");
    const names = ["attention_norm", "attention.qkv", "attention.out", "mlp_norm", "mlp.up", "mlp.down"];
    this.blocks = Array.from({ length: config.n_layers }, (_, i) =>
      Object.fromEntries(names.map((name) => [name, part(`blocks.${i}.${name}`)])),
    );
    this.clear();
  }

  // Forgets all tokens but the first n.
  clear(n = 0) {
    this.ids = this.ids?.slice(0, n) ?? [];
    this.cache ??= this.blocks.map(() => ({ keys: [], values: [] }));
    for (const { keys, values } of this.cache) keys.length = values.length = this.ids.length;
  }

  encode(text) {
    return this.bpe.encode(text).map((rank) => this.idOfRank[rank]);
  }

  // The bytes of a token; special tokens have none.
  bytesOf(id) {
    const rank = this.rankOfId.get(id);
    return rank === undefined ? [] : this.bpe.bytesOf(rank);
  }

  // The logits for the token after id, which follows the tokens so far.
  next(id) {
    const { config } = this;
    const position = this.ids.length;
    if (position >= config.context_length) throw new Error("the context is full");
    const size = config.d_model;
    let x = this.embed(id, position, size);
    this.blocks.forEach((block, layer) => {
      this.add(x, this.attention(block, this.cache[layer], this.normed(x, block.attention_norm), position));
      this.add(x, this.mlp(block, this.normed(x, block.mlp_norm)));
    });
    this.ids.push(id);
    return linear(this.head, this.normed(x, this.norm), new Float32Array(config.vocab_size));
  }

  embed(id, position, size) {
    const { config } = this;
    const x = this.embedding.slice(id * size, (id + 1) * size);
    x.forEach((value, i) => (x[i] = value * config.embedding_scale));
    if (config.positions === "learned") {
      this.add(x, this.positions.subarray(position * size, (position + 1) * size));
    }
    if (config.positions === "sinusoidal") {
      x.forEach((value, i) => {
        const angle = position * 10_000 ** (-(i - (i % 2)) / size);
        x[i] = value + (i % 2 ? Math.cos(angle) : Math.sin(angle));
      });
    }
    return x;
  }

  add(x, y) {
    for (let i = 0; i < x.length; i++) x[i] += y[i];
  }

  normed(x, weights) {
    return NORMS[this.config.norm](x, weights, this.config.norm_eps);
  }

  attention(block, cache, x, position) {
    const { d_head: size, n_heads, n_kv, positions, rope_base } = this.config;
    const { weight, bias } = block["attention.qkv"];
    const qkv = linear(weight, x, new Float32Array((n_heads + 2 * n_kv) * size), bias);
    const q = qkv.subarray(0, n_heads * size);
    const k = qkv.subarray(n_heads * size, (n_heads + n_kv) * size);
    if (positions === "rope") for (const heads of [q, k]) rotate(heads, position, size, rope_base);
    cache.keys.push(k);
    cache.values.push(qkv.subarray((n_heads + n_kv) * size));
    const read = new Float32Array(n_heads * size);
    for (let head = 0; head < n_heads; head++) {
      const shared = Math.trunc((head * n_kv) / n_heads) * size;
      const scores = cache.keys.map((key) => {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += q[head * size + i] * key[shared + i];
        return sum / Math.sqrt(size);
      });
      softmax(scores).forEach((share, past) => {
        const value = cache.values[past];
        for (let i = 0; i < size; i++) read[head * size + i] += share * value[shared + i];
      });
    }
    const out = block["attention.out"];
    return linear(out.weight, read, new Float32Array(x.length), out.bias);
  }

  mlp(block, x) {
    const { activation, d_hidden } = this.config;
    const { "mlp.up": up, "mlp.down": down } = block;
    const wide = activation === "swiglu" ? 2 * d_hidden : d_hidden;
    const hidden = activate(linear(up.weight, x, new Float32Array(wide), up.bias), activation);
    return linear(down.weight, hidden, new Float32Array(x.length), down.bias);
  }

  // The logits after each of ids; what the cache holds of them already is not computed again.
  read(ids, known) {
    let shared = 0;
    while (shared < this.ids.length && this.ids[shared] === ids[shared]) shared++;
    this.clear(Math.min(shared, known.length));
    known.length = this.ids.length;
    for (const id of ids.slice(this.ids.length)) known.push(this.next(id));
    return known;
  }
}

// ---- drawing a token

// Probabilities after temperature and top-p, as lmcore.generation.sampling has them.
export function probabilities(logits, temperature, topP = 1) {
  if (temperature === 0) {
    const best = logits.indexOf(logits.reduce((most, value) => Math.max(most, value), -Infinity));
    return Float64Array.from(logits, (_, i) => (i === best ? 1 : 0));
  }
  const shares = softmax(Float64Array.from(logits, (value) => value / temperature));
  if (topP >= 1) return shares;
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
  const kept = new Float64Array(shares.length);
  let sum = 0;
  for (const id of order) {
    kept[id] = shares[id];
    sum += shares[id];
    if (sum >= topP) break;
  }
  return kept.map((share) => share / sum);
}

export function draw(shares, random) {
  let left = random;
  for (let id = 0; id < shares.length; id++) {
    left -= shares[id];
    if (left < 0) return id;
  }
  return shares.findLastIndex((share) => share > 0);
}
