"use strict";
/* What the page shows follows from its fragment alone: `#12&view=2.1&sort=aer`. Whatever is clicked
   changes the fragment, and a changed fragment changes the page; so every view has an address. Words
   come into the page as text nodes only. */

const { about, sentences } = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const SVG = document.querySelector("svg").namespaceURI;
const FAINTEST = .01;  // weights that count as nothing
const WEAK = .08;      // weights that are drawn where there is no link
const ROW = 54;        // height of an entry of the list
const EXTREME = .05;   // share of the sentences of most entropy, or of lowest score, that are suspicious
const ENOUGH = 20;     // sentences that it takes to call one extreme

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(parent, tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

const percent = weight => `${Math.round(100 * weight)} %`;
/** A word whose direction leaves the text around it alone. */
const isolated = word => `\u2068${word}\u2069`;
/** Whether words are read from right to left: their first letter decides. */
const rtl = words => /^\P{L}*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(words.join(" "));

/* ---- Data ---- */

const level = Object.fromEntries([...about.alphabet].map((letter, idx) => [letter, idx / (about.alphabet.length - 1)]));

/** Weights, `rows[tgt][src]`, and links, as `src + tgt * columns`, of a packed view. */
function unpack(packed, columns) {
  const rows = [], eos = [], links = new Set();
  let row = [];
  for (const letter of packed) {
    if (letter === ".") {
      while (row.length <= columns) row.push(0);
      eos.push(row.shift());
      rows.push(row);
      row = [];
    } else if (letter === "!") {
      links.add(row.length - 2 + rows.length * columns);
    } else if (letter in level) {
      row.push(level[letter]);
    } else {
      for (let n = +letter; n > 0; n--) row.push(0);
    }
  }
  return { rows, eos, links };
}

/** What model `model` attends to in a sentence, in one of the views of the page; `""` is its alignment. */
function viewed(sentence, model, key) {
  const packed = (model === 0 && sentence.frames?.[frameOf(state)]) || sentence.views[model] || [];
  const idx = key === "" ? 0 : about.models[model].views.indexOf(key) + 1;
  return packed[idx] === undefined ? null : unpack(packed[idx], sentence.src.length);
}

const places = (sentence, links) => new Set((links || []).map(([src, tgt]) => src + tgt * sentence.src.length));

/** Sure and possible links of people. */
function gold(sentence) {
  if (!sentence.gold) return null;
  const [sure, possible] = sentence.gold;
  return { sure: places(sentence, sure), possible: places(sentence, [...sure, ...possible]) };
}

/** The alignment error rate of links (Och and Ney, 2003). */
function errorRate(links, { sure, possible }) {
  const both = (one, other) => [...one].filter(link => other.has(link)).length;
  const all = links.size + sure.size;
  return all ? 1 - (both(links, sure) + both(links, possible)) / all : 0;
}

function nameOf(key) {
  if (key === "") return "alignment";
  if (key === "all") return "mean of all layers";
  const [layer, head] = key.split(".");
  return head === undefined ? `layer ${layer}, mean of heads` : `layer ${layer}, head ${head}`;
}

const rate = value => (100 * value).toFixed(1);
/** What sentences are measured by: `of` is missing where there is nothing to measure. */
const measures = {
  score: { name: "Score", told: "Mean log-probability of a token, in nats", order: "Lowest score first", sign: 1, of: s => s.score, show: x => x.toFixed(2) },
  entropy: { name: "Entropy", told: "Entropy of the weights of a target word, in bits, on average", order: "Highest entropy first", sign: -1, of: s => s.entropy, show: x => x.toFixed(2) },
  aer: { name: "AER", told: "Alignment error rate of the model's alignment, in percent", order: "Highest error rate first", sign: -1, of: s => s.aer, show: rate },
  differ: { name: "Difference", told: "Links that only one of the models has, in percent of all", order: "Most different first", sign: -1, of: s => s.differ, show: rate },
  length: { name: "Words", told: "Words of the source", order: "Longest first", sign: -1, of: s => s.src.length, show: String },
};
for (const key of Object.keys(measures)) {
  if (!sentences.some(s => measures[key].of(s) !== undefined)) delete measures[key];
}

const SUSPICIOUS = "suspicious";
const suspicious = (() => {
  const limit = (key, share) => {
    const values = sentences.map(measures[key]?.of ?? (() => undefined)).filter(x => x !== undefined).sort((a, b) => a - b);
    return values.length < ENOUGH ? undefined : values[Math.floor(share * (values.length - 1))];
  };
  const low = limit("score", EXTREME), high = limit("entropy", 1 - EXTREME);
  return s => Boolean(s.notes) || s.score < low || s.entropy > high;
})();
/** What the list shows a number of. */
const listedBy = () => measures[state.sort] || measures.aer || measures.score || measures.length;
const kindsOf = s => [...(suspicious(s) ? [SUSPICIOUS] : []), ...new Set((s.notes || []).map(note => note.kind))];
const kinds = new Map();
for (const s of sentences) for (const kind of kindsOf(s)) kinds.set(kind, (kinds.get(kind) || 0) + 1);

/* ---- The state of the page, and its address ---- */

const byLine = new Map(sentences.map((s, idx) => [s.n, idx]));
let state = null, shown = [], current = -1;

function parse(fragment) {
  const [line, ...rest] = fragment.replace(/^#/, "").split("&");
  const values = new Map(rest.map(part => {
    const [name, value = ""] = part.split("=");
    try { return [name, decodeURIComponent(value)]; } catch { return [name, ""]; }
  }));
  const key = (name, model) => about.models[model]?.views.includes(values.get(name)) ? values.get(name) : "";
  const only = (values.get("only") || "").split(",").filter(kind => kinds.has(kind));
  const frame = values.has("frame") && +values.get("frame") in about.frames ? +values.get("frame") : "";
  return {
    line: parseInt(line, 10) || 0, views: [key("view", 0), key("view2", 1)], query: values.get("q") || "",
    sort: values.get("sort") in measures ? values.get("sort") : "", reverse: values.has("reverse"), only, frame,
  };
}

function address(s) {
  const parts = [String(s.line)];
  const add = (name, value) => { if (value) parts.push(`${name}=${encodeURIComponent(value)}`); };
  add("view", s.views[0]);
  add("view2", s.views[1]);
  add("q", s.query);
  add("sort", s.sort);
  if (s.reverse) parts.push("reverse");
  add("only", s.only.join(","));
  if (s.frame !== "") parts.push(`frame=${s.frame}`);
  return `#${parts.join("&")}`;
}

/** Changes the state. What is typed letter by letter leaves no trace in the history. */
function go(changes, trace = true) {
  const fragment = address({ ...state, ...changes });
  if (fragment === address(state)) return;
  if (trace) location.hash = fragment; else location.replace(fragment);
}

function select() {
  const wanted = state.query.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const text = s => s.text ??= `${s.src.join(" ")}\n${s.tgt.join(" ")}`.toLocaleLowerCase();
  const fits = s => wanted.every(part => text(s).includes(part)) && (!state.only.length || kindsOf(s).some(kind => state.only.includes(kind)));
  shown = [...sentences.keys()].filter(idx => fits(sentences[idx]));
  const measure = measures[state.sort];
  if (measure) {
    const value = idx => { const x = measure.of(sentences[idx]); return x === undefined ? Infinity : measure.sign * x; };
    shown.sort((a, b) => value(a) - value(b) || a - b);
  }
  if (state.reverse) shown.reverse();
}

function update() {
  const before = state;
  state = parse(location.hash);
  const changed = (...names) => !before || names.some(name => String(before[name]) !== String(state[name]));
  const listed = changed("query", "sort", "reverse", "only");
  if (listed) select();
  const idx = byLine.get(state.line) ?? shown[0] ?? (sentences.length ? 0 : -1);
  if (idx >= 0) state.line = sentences[idx].n;
  const moved = idx !== current;
  current = idx;
  if (listed) controls();
  if (listed || moved) reveal();
  rows();
  if (changed("frame")) drawPlayer();
  if (current >= 0 && (moved || changed("views", "frame"))) show(moved);
  else if (listed) position();
  document.documentElement.dataset.line = state.line;
  document.documentElement.dataset.shown = shown.length;
}

/** Moves by `steps` in what is listed. */
function step(steps) {
  const place = shown.indexOf(current);
  const next = place < 0 ? shown[0] : shown[place + steps];
  if (next !== undefined) go({ line: sentences[next].n });
}

/* ---- The list ---- */

const list = at("list"), query = at("query"), sort = at("sort"), reverse = at("reverse");

function controls() {
  if (query.value !== state.query) query.value = state.query;
  sort.value = state.sort;
  reverse.setAttribute("aria-pressed", state.reverse);
  for (const button of at("kinds").children) button.setAttribute("aria-pressed", state.only.includes(button.dataset.kind));
  const all = sentences.length.toLocaleString("en"), some = shown.length.toLocaleString("en");
  const measure = listedBy();
  at("count").replaceChildren(make("span", { textContent: `${shown.length === sentences.length ? all : `${some} of ${all}`} sentences` }), make("span", { textContent: measure?.name ?? "" }));
  at("rows").style.height = `${shown.length * ROW}px`;
}

/** Draws the entries that can be seen, and no others. */
function rows() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const some = shown.slice(first, first + Math.ceil((list.clientHeight || 600) / ROW) + 8);
  const measure = listedBy();
  at("rows").replaceChildren(...some.map((idx, n) => {
    const s = sentences[idx], value = measure?.of(s);
    const text = words => make("bdi", { dir: rtl(words) ? "rtl" : "ltr", textContent: words.join(" ") });
    const row = make("div", { className: "row", id: `row-${idx}` },
      make("div", {}, make("small", { textContent: s.n }), text(s.src), make("small", { textContent: value === undefined ? "" : measure.show(value), title: measure?.name ?? "" })),
      make("div", {}, make("small", { className: "flag", textContent: s.notes ? "⚑" : "", title: s.notes ? kindsOf(s).join(", ") : "" }), text(s.tgt)));
    row.style.top = `${(first + n) * ROW}px`;
    row.dataset.idx = idx;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", idx === current);
    row.setAttribute("aria-posinset", first + n + 1);
    row.setAttribute("aria-setsize", shown.length);
    return row;
  }));
  if (at(`row-${current}`)) list.setAttribute("aria-activedescendant", `row-${current}`);
  else list.removeAttribute("aria-activedescendant");
}

/** Scrolls the list so that it shows the current sentence. */
function reveal() {
  const place = shown.indexOf(current), height = list.clientHeight;
  if (place < 0 || !height) return;
  if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
  if ((place + 1) * ROW > list.scrollTop + height) list.scrollTop = (place + 1) * ROW - height;
}

function listing(open) {
  document.body.classList.toggle("listing", open);
  at("open").setAttribute("aria-expanded", open);
  if (open) { reveal(); rows(); list.focus(); }
}

function prepare() {
  document.querySelector("h1").textContent = document.title;
  document.body.classList.toggle("many", sentences.length > 1);
  const [one, two] = about.models;
  if (two) at("models").append(make("span", { className: "one", textContent: isolated(one.name) }), " and ", make("span", { className: "two", textContent: isolated(two.name) }));
  else if (one) at("models").textContent = one.name;
  const counts = sentences.map(s => s.counts).filter(Boolean);
  if (counts.length) {
    const [found, sure, foundSure, foundPossible] = [0, 1, 2, 3].map(i => counts.reduce((sum, c) => sum + c[i], 0));
    at("models").append(` · AER ${found + sure ? rate(1 - (foundSure + foundPossible) / (found + sure)) : "0.0"} %`);
  }
  sort.append(make("option", { value: "", textContent: "Order of the file" }));
  for (const [key, { order }] of Object.entries(measures)) sort.append(make("option", { value: key, textContent: order }));
  const names = [...kinds.keys()].sort((a, b) => (b === SUSPICIOUS) - (a === SUSPICIOUS) || (a < b ? -1 : 1));
  at("kinds").append(...names.map(kind => {
    const button = make("button", { type: "button", textContent: `${kind} ${kinds.get(kind)}` });
    if (kind === SUSPICIOUS) button.title = `What has a note, and the ${100 * EXTREME} % of most entropy or of lowest score`;
    button.dataset.kind = kind;
    button.onclick = () => go({ only: state.only.includes(kind) ? state.only.filter(k => k !== kind) : [...state.only, kind] });
    return button;
  }));
}

query.addEventListener("input", () => go({ query: query.value }, false));
sort.addEventListener("change", () => go({ sort: sort.value }));
reverse.addEventListener("click", () => go({ reverse: !state.reverse }));
at("open").addEventListener("click", () => listing(!document.body.classList.contains("listing")));
list.addEventListener("scroll", () => requestAnimationFrame(rows), { passive: true });
list.addEventListener("click", event => {
  const row = event.target.closest(".row");
  if (row) { go({ line: sentences[row.dataset.idx].n }); listing(false); }
});
list.addEventListener("keydown", event => {
  const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length }[event.key];
  if (event.key === "Enter") listing(false);
  if (!steps || !shown.length) return;
  event.preventDefault();
  const place = Math.min(Math.max(shown.indexOf(current) + steps, 0), shown.length - 1);
  go({ line: sentences[shown[place]].n }, false);
});
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, #list")) return;
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "[" || event.key === "]") turn(event.key === "]" ? 1 : -1);
  else if (event.key === "/" && document.body.classList.contains("many")) { event.preventDefault(); listing(true); query.focus(); }
});
addEventListener("hashchange", update);
