// A one-layer transformer that learns division modulo a prime, its gradient written out by hand.
//
// A row is three tokens, a, b and the sign, and the answer is read at the last one: the model of the
// grokking study (ReLU, no norms, cosine head), only smaller. There are no norms and the third token
// is always the same, so queries, keys and values are computed once for each number, not for each row.

import { randomNumbers } from "./dom.mjs";

// ---- products of row-major matrices: x is n by k, w is m by k, y is n by m

// y = x wᵀ, four columns of y at a time, so that each number of x is read once for four.
export function multiply(x, w, n, k, m, y) {
  for (let i = 0; i < n; i++) {
    let j = 0;
    for (; j + 3 < m; j += 4) {
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
      for (let c = 0, at = i * k, b = j * k; c < k; c++, at++, b++) {
        const value = x[at];
        sum0 += value * w[b];
        sum1 += value * w[b + k];
        sum2 += value * w[b + 2 * k];
        sum3 += value * w[b + 3 * k];
      }
      const at = i * m + j;
      y[at] = sum0;
      y[at + 1] = sum1;
      y[at + 2] = sum2;
      y[at + 3] = sum3;
    }
    for (; j < m; j++) {
      let sum = 0;
      for (let c = 0; c < k; c++) sum += x[i * k + c] * w[j * k + c];
      y[i * m + j] = sum;
    }
  }
}

// Row r of out, of k numbers, gets the sum over s of factors[r rowStep + s step] times row s of x.
function addRows(factors, rowStep, step, nRows, n, x, k, out) {
  for (let r = 0; r < nRows; r++) {
    let s = 0;
    for (; s + 3 < n; s += 4) {
      const at = r * rowStep + s * step;
      const f0 = factors[at];
      const f1 = factors[at + step];
      const f2 = factors[at + 2 * step];
      const f3 = factors[at + 3 * step];
      for (let c = 0, o = r * k, b = s * k; c < k; c++, o++, b++) {
        out[o] += f0 * x[b] + f1 * x[b + k] + f2 * x[b + 2 * k] + f3 * x[b + 3 * k];
      }
    }
    for (; s < n; s++) {
      const factor = factors[r * rowStep + s * step];
      for (let c = 0; c < k; c++) out[r * k + c] += factor * x[s * k + c];
    }
  }
}

// dx += dy w, and dw += dyᵀ x
function multiplyBack(dy, x, w, n, k, m, dx, dw) {
  addRows(dy, m, 1, n, m, w, k, dx);
  addRows(dy, 1, m, m, n, x, k, dw);
}

// Divides each row of x by its length; returns the lengths.
function normalise(x, n, k, y) {
  const lengths = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    let square = 0;
    for (let c = i * k; c < (i + 1) * k; c++) square += x[c] * x[c];
    lengths[i] = Math.max(Math.sqrt(square), 1e-12);
    for (let c = i * k; c < (i + 1) * k; c++) y[c] = x[c] / lengths[i];
  }
  return lengths;
}

// Adds to dx the gradient that dy gives through y = x / |x|.
function normaliseBack(dy, y, lengths, n, k, dx) {
  for (let i = 0; i < n; i++) {
    let dot = 0;
    for (let c = i * k; c < (i + 1) * k; c++) dot += y[c] * dy[c];
    for (let c = i * k; c < (i + 1) * k; c++) dx[c] += (dy[c] - y[c] * dot) / lengths[i];
  }
}

// ---- the task

export function inverse(b, p) {
  for (let c = 1; c < p; c++) if ((b * c) % p === 1) return c;
  throw new Error(`${b} has no inverse modulo ${p}`);
}

// All pairs of a modulo p, shuffled and cut: the first share of them trains, the rest does not.
export function table(p, share, seed) {
  const inverses = Array.from({ length: p }, (_, b) => (b ? inverse(b, p) : 0));
  const rows = [];
  for (let a = 0; a < p; a++) {
    for (let b = 1; b < p; b++) rows.push({ a, b, answer: (a * inverses[b]) % p });
  }
  const random = randomNumbers(seed);
  for (let i = rows.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [rows[i], rows[j]] = [rows[j], rows[i]];
  }
  const n = Math.round(share * rows.length);
  rows.forEach((row, i) => (row.isTrained = i < n));
  return { train: rows.slice(0, n), unseen: rows.slice(n), rows };
}

// ---- the model

export const SIZES = { d: 64, heads: 4, ff: 128, scale: 10, initial: 0.08 };

export function shapes(p, { d, ff }) {
  return {
    "token_embedding.weight": [p + 1, d],
    "position_embedding.weight": [3, d],
    "blocks.0.attention.qkv.weight": [3 * d, d],
    "blocks.0.attention.out.weight": [d, d],
    "blocks.0.mlp.up.weight": [ff, d],
    "blocks.0.mlp.down.weight": [d, ff],
    "head.weight": [p + 1, d],
  };
}

const zerosLike = (weights) =>
  Object.fromEntries(Object.entries(weights).map(([name, { length }]) => [name, new Float32Array(length)]));

// Normal numbers, smaller where a map adds to the residual, as GPT-2's.
export function initial(p, sizes, seed) {
  const random = randomNumbers(seed);
  const normal = () =>
    Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Object.fromEntries(
    Object.entries(shapes(p, sizes)).map(([name, [rows, columns]]) => {
      const scale = sizes.initial * (/out|down/.test(name) ? Math.SQRT1_2 : 1);
      return [name, Float32Array.from({ length: rows * columns }, () => scale * normal())];
    }),
  );
}

export class Model {
  constructor(p, weights, sizes = SIZES) {
    Object.assign(this, { p, weights, sizes });
  }

  // Features of each number in first and second place and of the sign, and what attention needs.
  numbers() {
    const { p, sizes: { d, heads }, weights } = this;
    const [embedding, positions] = [weights["token_embedding.weight"], weights["position_embedding.weight"]];
    const n = 2 * p + 1;
    const x = new Float32Array(n * d);
    for (let row = 0; row < n; row++) {
      const [place, token] = row === 2 * p ? [2, p] : [Math.trunc(row / p), row % p];
      for (let c = 0; c < d; c++) x[row * d + c] = embedding[token * d + c] + positions[place * d + c];
    }
    const qkv = weights["blocks.0.attention.qkv.weight"];
    const q = new Float32Array(d);
    multiply(x.subarray(2 * p * d), qkv, 1, d, d, q);
    const [k, v] = [new Float32Array(n * d), new Float32Array(n * d)];
    multiply(x, qkv.subarray(d * d), n, d, d, k);
    multiply(x, qkv.subarray(2 * d * d), n, d, d, v);
    const size = d / heads;
    const scores = new Float32Array(n * heads);
    for (let row = 0; row < n; row++) {
      for (let c = 0; c < d; c++) {
        scores[row * heads + Math.trunc(c / size)] += (q[c] * k[row * d + c]) / Math.sqrt(size);
      }
    }
    return { n, x, q, k, v, scores };
  }

  // Logits of rows, a row of p + 1 numbers for each, and all that the gradient needs.
  forward(rows) {
    const { p, sizes: { d, heads, ff, scale }, weights } = this;
    const n = rows.length;
    const numbers = this.numbers();
    const size = d / heads;
    const shares = new Float32Array(n * heads * 3);
    const read = new Float32Array(n * d);
    const { scores, v } = numbers;
    for (let i = 0; i < n; i++) {
      const [r0, r1, r2] = [rows[i].a, p + rows[i].b, 2 * p];
      for (let h = 0; h < heads; h++) {
        const [s0, s1, s2] = [scores[r0 * heads + h], scores[r1 * heads + h], scores[r2 * heads + h]];
        const most = Math.max(s0, s1, s2);
        const [e0, e1, e2] = [Math.exp(s0 - most), Math.exp(s1 - most), Math.exp(s2 - most)];
        const sum = e0 + e1 + e2;
        shares.set([e0 / sum, e1 / sum, e2 / sum], (i * heads + h) * 3);
        for (let c = h * size; c < (h + 1) * size; c++) {
          read[i * d + c] = (e0 * v[r0 * d + c] + e1 * v[r1 * d + c] + e2 * v[r2 * d + c]) / sum;
        }
      }
    }
    const middle = new Float32Array(n * d);
    multiply(read, weights["blocks.0.attention.out.weight"], n, d, d, middle);
    for (let i = 0; i < middle.length; i++) middle[i] += numbers.x[2 * p * d + (i % d)];
    const hidden = new Float32Array(n * ff);
    multiply(middle, weights["blocks.0.mlp.up.weight"], n, d, ff, hidden);
    for (let i = 0; i < hidden.length; i++) if (hidden[i] < 0) hidden[i] = 0;
    const end = new Float32Array(n * d);
    multiply(hidden, weights["blocks.0.mlp.down.weight"], n, ff, d, end);
    for (let i = 0; i < end.length; i++) end[i] += middle[i];
    const features = new Float32Array(n * d);
    const lengths = normalise(end, n, d, features);
    const head = new Float32Array((p + 1) * d);
    const headLengths = normalise(weights["head.weight"], p + 1, d, head);
    const logits = new Float32Array(n * (p + 1));
    multiply(features, head, n, d, p + 1, logits);
    for (let i = 0; i < logits.length; i++) logits[i] *= scale;
    return { n, rows, numbers, shares, read, middle, hidden, features, lengths, head, headLengths, logits };
  }

  // The probabilities of all p + 1 answers to each row.
  probabilities(rows) {
    const { logits } = this.forward(rows);
    return rows.map((_, i) => softmaxRow(logits, i * (this.p + 1), this.p + 1));
  }

  // The mean loss of rows, in nats, and its gradient.
  gradient(rows) {
    const pass = this.forward(rows);
    const { n, logits } = pass;
    const vocab = this.p + 1;
    let loss = 0;
    for (let i = 0; i < n; i++) {
      const shares = softmaxRow(logits, i * vocab, vocab);
      loss -= Math.log(shares[rows[i].answer]) / n;
      shares[rows[i].answer] -= 1;
      for (let j = 0; j < vocab; j++) logits[i * vocab + j] = (shares[j] * this.sizes.scale) / n;
    }
    return { loss, gradient: this.back(pass, logits) };
  }

  // The gradient of all weights, given that of the cosines.
  back(pass, dCosines) {
    const { p, sizes: { d, heads, ff }, weights } = this;
    const { n, rows, numbers, shares, read, middle, hidden, features, lengths, head, headLengths } = pass;
    const out = zerosLike(weights);
    const dHead = new Float32Array(head.length);
    const dFeatures = new Float32Array(n * d);
    multiplyBack(dCosines, features, head, n, d, p + 1, dFeatures, dHead);
    normaliseBack(dHead, head, headLengths, p + 1, d, out["head.weight"]);
    const dMiddle = new Float32Array(n * d); // the end's gradient, which the residual hands down
    normaliseBack(dFeatures, features, lengths, n, d, dMiddle);
    const dHidden = new Float32Array(n * ff);
    const dEnd = dMiddle.slice();
    multiplyBack(dEnd, hidden, weights["blocks.0.mlp.down.weight"], n, ff, d, dHidden, out["blocks.0.mlp.down.weight"]);
    for (let i = 0; i < hidden.length; i++) if (hidden[i] === 0) dHidden[i] = 0;
    multiplyBack(dHidden, middle, weights["blocks.0.mlp.up.weight"], n, d, ff, dMiddle, out["blocks.0.mlp.up.weight"]);
    const dRead = new Float32Array(n * d);
    const outName = "blocks.0.attention.out.weight";
    multiplyBack(dMiddle, read, weights[outName], n, d, d, dRead, out[outName]);
    const dX = new Float32Array(numbers.n * d);
    for (let i = 0; i < dMiddle.length; i++) dX[2 * p * d + (i % d)] += dMiddle[i];
    const dV = new Float32Array(numbers.n * d);
    const dScores = new Float32Array(numbers.n * heads);
    attentionBack({ rows, p, d, heads, shares, v: numbers.v, dRead, dV, dScores });
    this.numbersBack(numbers, dScores, dV, dX, out);
    return out;
  }

  // From scores and values of each number back to embeddings and the weights of q, k and v.
  numbersBack({ n, x, q, k }, dScores, dV, dX, out) {
    const { p, sizes: { d, heads }, weights } = this;
    const size = d / heads;
    const [dQ, dK] = [new Float32Array(d), new Float32Array(n * d)];
    for (let row = 0; row < n; row++) {
      for (let c = 0; c < d; c++) {
        const dScore = dScores[row * heads + Math.trunc(c / size)] / Math.sqrt(size);
        dQ[c] += dScore * k[row * d + c];
        dK[row * d + c] = dScore * q[c];
      }
    }
    const [w, dW] = [weights, out].map((all) => all["blocks.0.attention.qkv.weight"]);
    const last = 2 * p * d;
    multiplyBack(dQ, x.subarray(last), w, 1, d, d, dX.subarray(last), dW);
    multiplyBack(dK, x, w.subarray(d * d), n, d, d, dX, dW.subarray(d * d));
    multiplyBack(dV, x, w.subarray(2 * d * d), n, d, d, dX, dW.subarray(2 * d * d));
    for (let row = 0; row < n; row++) {
      const [place, token] = row === 2 * p ? [2, p] : [Math.trunc(row / p), row % p];
      for (let c = 0; c < d; c++) {
        out["token_embedding.weight"][token * d + c] += dX[row * d + c];
        out["position_embedding.weight"][place * d + c] += dX[row * d + c];
      }
    }
  }
}

function softmaxRow(logits, start, length) {
  let most = -Infinity;
  for (let j = start; j < start + length; j++) most = Math.max(most, logits[j]);
  const shares = new Float64Array(length);
  let sum = 0;
  for (let j = 0; j < length; j++) sum += shares[j] = Math.exp(logits[start + j] - most);
  for (let j = 0; j < length; j++) shares[j] /= sum;
  return shares;
}

function attentionBack({ rows, p, d, heads, shares, v, dRead, dV, dScores }) {
  const size = d / heads;
  rows.forEach(({ a, b }, i) => {
    const places = [a, p + b, 2 * p];
    for (let h = 0; h < heads; h++) {
      const at = (i * heads + h) * 3;
      const dShares = [0, 0, 0];
      for (let j = 0; j < 3; j++) {
        for (let c = h * size; c < (h + 1) * size; c++) {
          dShares[j] += dRead[i * d + c] * v[places[j] * d + c];
          dV[places[j] * d + c] += shares[at + j] * dRead[i * d + c];
        }
      }
      const mean = dShares[0] * shares[at] + dShares[1] * shares[at + 1] + dShares[2] * shares[at + 2];
      for (let j = 0; j < 3; j++) dScores[places[j] * heads + h] += shares[at + j] * (dShares[j] - mean);
    }
  });
}

// ---- training

// AdamW (Loshchilov & Hutter 2019) on all weights, its learning rate warmed up over some steps.
export class AdamW {
  constructor(weights, { lr = 7e-3, betas = [0.9, 0.98], eps = 1e-8, decay = 1, warmup = 10 } = {}) {
    Object.assign(this, { weights, lr, betas, eps, decay, warmup, step: 0 });
    this.mean = zerosLike(weights);
    this.square = zerosLike(weights);
  }

  update(gradient) {
    this.step += 1;
    const [beta1, beta2] = this.betas;
    const lr = this.lr * Math.min(1, this.step / this.warmup);
    const [bias1, bias2] = [1 - beta1 ** this.step, 1 - beta2 ** this.step];
    for (const [name, w] of Object.entries(this.weights)) {
      const [g, m, v] = [gradient[name], this.mean[name], this.square[name]];
      for (let i = 0; i < w.length; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        w[i] -= lr * (this.decay * w[i] + m[i] / bias1 / (Math.sqrt(v[i] / bias2) + this.eps));
      }
    }
  }
}

export class Training {
  constructor({ p, share, decay, seed, batch = 512, sizes = SIZES, ...options }) {
    this.table = table(p, share, seed);
    this.model = new Model(p, initial(p, sizes, seed + 1), sizes);
    this.optimizer = new AdamW(this.model.weights, { decay, ...options });
    this.random = randomNumbers(seed + 2);
    this.batch = batch;
    this.waiting = [];
  }

  // One step on the next rows of an epoch's order; returns their loss.
  step() {
    const { train } = this.table;
    if (this.waiting.length === 0) {
      this.waiting = train.map((row) => [this.random(), row]).sort((x, y) => x[0] - y[0]);
    }
    const rows = this.waiting.splice(0, this.batch).map(([, row]) => row);
    const { loss, gradient } = this.model.gradient(rows);
    this.optimizer.update(gradient);
    return loss;
  }

  // Marks each row of the table as right or wrong; returns the shares right of both sets.
  evaluate() {
    const { rows, train, unseen } = this.table;
    const vocab = this.model.p + 1;
    const { logits } = this.model.forward(rows);
    rows.forEach((row, i) => {
      let best = 0;
      for (let j = 1; j < vocab; j++) if (logits[i * vocab + j] > logits[i * vocab + best]) best = j;
      row.guess = best;
    });
    const right = (set) => set.filter((row) => row.guess === row.answer).length / (set.length || 1);
    return { step: this.optimizer.step, train: right(train), unseen: right(unseen) };
  }
}
