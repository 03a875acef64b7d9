// Strings for the tokenizer goldens: our own text only, made by a seeded generator, so that every run gives the same.

export function makeRandom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n) => Math.floor(next() * n);
  return { next, below, pick: (list) => list[below(list.length)] };
}

const names = ["h", "hx", "h₀", "h₁₂", "ih", "x", "y₁", "α", "β'", "n", "foo_bar", "Nat.succ_le", "hpq", "this", "a_lt_b"];
const terms = [
  "x ^ 2 + 1", "∑ i in Finset.range n, f i", "Real.sqrt 2", "(a * b)⁻¹", "n % 10", "‖x - y‖", "∫ t in (0:ℝ)..1, t^2",
  "fun x ↦ x + 1", "⟨1, by norm_num⟩", "s.card", "2 * π", "∏ k ∈ S, g k", "⌊x⌋", "a ∣ b", "p ∧ ¬q", "x ≡ 3 [MOD 7]",
  "Nat.gcd a b = 1", "{z : ℂ | z.re > 0}", "f ∘ g", "A ∪ Bᶜ", "0.5", "1e-10", "12345678901234567890", "0xFF",
];
const tactics = [
  "simp", "ring", "linarith", "nlinarith [sq_nonneg (a - b)]", "norm_num at h₀ ⊢", "omega", "field_simp", "positivity",
  "rw [← mul_comm]", "constructor", "intro x hx", "cases h with\n  | inl hp => exact hp\n  | inr hq => exact hq.elim",
  "have h₁ : 0 < x := by positivity", "refine' ⟨_, _⟩ <;> simp_all", "induction' n with k ih", "by_contra! h",
  "obtain ⟨k, rfl⟩ := h", "exact?", "apply le_antisymm", "decide", "aesop", "calc a = b := by ring\n    _ ≤ c := h",
  "-- a comment, with ünïcödé", "set_option maxHeartbeats 400000 in", "· exact h.1", "interval_cases x <;> simp_all",
];
const prose = [
  "Let us prove that the sum of two even numbers is even.", "The plan: first bound $x$, then use $\\frac{a}{b} \\le 1$.",
  "我们证明两个偶数之和是偶数。", "素数は無限に存在する。", "정리의 증명은 귀납법을 쓴다.", "Пусть n — простое число.",
  "Έστω ένας πραγματικός αριθμός.", "لنفرض أن العدد موجب", "उपपत्ति सरल है", "מספר ראשוני", "ทฤษฎีบท", "naïve café — “quoted” ‘text’…",
  "ｆｕｌｌ－ｗｉｄｔｈ　ｔｅｘｔ！", "don't we've I'll THEY'D it's", "a/b\\c|d~e`f", "tabs\tand\u00a0no-break\u3000spaces\u2003here",
  "été e\u0301te\u0301", "ﬁ ligature ǅ ʼn", "①②③ ½ ⅷ Ⅻ ²³", "x\u200by\u200dz\ufeff", "price: €5, £3, ¥7, ₿1", "(see [1], §2.3)…",
];
const emoji = ["😀", "👩‍🔬", "🇫🇷", "👍🏽", "❤️", "🧮", "∎", "✅", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"];
const spaces = [" ", "  ", "\n", "\n\n", "\t", "\r\n", "    ", "\n  ", " \n", "\u00a0", "\u3000", "\v", "\f", "\u0085", "\u2028", ""];
const controls = ["<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>", "<｜tool▁sep｜>", "<｜User", "｜>"];

function theorem(r) {
  const vars = Array.from({ length: 1 + r.below(3) }, () => `(${r.pick(names)} : ${r.pick(["ℝ", "ℕ", "ℤ", "Prop", "Set α"])})`);
  const body = Array.from({ length: 1 + r.below(3) }, () => "  " + r.pick(tactics)).join("\n");
  return `theorem ${r.pick(["foo", "t_", "mathd_algebra_"])}${r.below(1000)} ${vars.join(" ")} : ${r.pick(terms)} ${r.pick(["=", "≤", "<", "≠", "↔", "→"])} ${r.pick(terms)} := by\n${body}\n`;
}

function soup(r) {
  const pools = [names, terms, tactics, prose, emoji, spaces, spaces, controls];
  let out = "";
  for (let i = 1 + r.below(7); i > 0; i--) out += r.pick(r.pick(pools));
  return out;
}

function codePoint(r) {
  const ranges = [[0, 0x7f], [0x20, 0x7e], [0x80, 0x24f], [0x370, 0x52f], [0x2000, 0x2bff], [0x3000, 0x30ff], [0x4e00, 0x9fff], [0xac00, 0xd7a3], [0x1d400, 0x1d7ff], [0x1f300, 0x1faff], [0, 0x10ffff]];
  const [low, high] = r.pick(ranges);
  const c = low + r.below(high - low + 1);
  return c >= 0xd800 && c <= 0xdfff ? 0xfffd : c;
}

function randomText(r) {
  let out = "";
  for (let i = 1 + r.below(16); i > 0; i--) out += String.fromCodePoint(codePoint(r));
  return out;
}

function letters(r) {
  let out = "";
  for (let i = 1 + r.below(60); i > 0; i--) out += String.fromCharCode(97 + r.below(26));
  return out;
}

// Well-formed text with bytes deleted, inserted or changed.
export function brokenBytes(r) {
  const bytes = [...new TextEncoder().encode(soup(r) + r.pick(prose))].slice(0, 60);
  for (let i = 1 + r.below(4); i > 0; i--) {
    const at = r.below(bytes.length + 1);
    if (r.below(2)) bytes.splice(at, 1);
    else bytes.splice(at, r.below(2), r.pick([0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xf5, 0xff, r.below(256)]));
  }
  return Uint8Array.from(bytes);
}

export function texts(r, count) {
  const makers = [theorem, soup, soup, randomText, randomText, letters, (q) => q.pick(spaces).repeat(1 + q.below(9)) + q.pick(prose)];
  const list = [...names, ...terms, ...tactics, ...prose, ...emoji, ...spaces.filter((s) => s), ...controls];
  while (list.length < count) list.push(makers[list.length % makers.length](r));
  return list;
}

export function corpus() {
  const r = makeRandom(7);
  let out = "";
  for (let i = 0; i < 400; i++) out += theorem(r) + r.pick(prose) + "\n";
  return out;
}
