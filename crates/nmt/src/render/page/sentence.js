/* ---- A sentence: links between two lines of words, matrices, layers and heads ---- */

const main = at("main");
const HELP = "Point at a word to see what it is aligned with, click to hold it. Keys: arrows from word to word, j and k to the next sentence and back, [ and ] through layers and heads, / to search.";
const LABELLED = .03; // weights that are written at words
const LARGEST = 28, SMALLEST = 14; // sides of a cell, in pixels
/** What is drawn now. */
let open = null;

function show(moved) {
  const sentence = sentences[current];
  if (moved || !open) frame(sentence);
  const views = about.models.map((_, model) => viewed(sentence, model, state.views[model]) ?? viewed(sentence, model, ""));
  Object.assign(open, { views, gold: gold(sentence), marks: [], tags: [] });
  numbers(sentence);
  stage(sentence);
  open.maps = views.map((view, model) => map(sentence, view, model));
  legend();
  for (const [model, { read }] of about.models.entries()) {
    for (const button of open.heads[model].querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.key === (state.views[model] || read));
    }
  }
  fit();
  position();
  restore();
  document.documentElement.dataset.views = state.views.slice(0, views.length).map(key => key || "read").join(",");
}

/** Lays out what stays while layers and heads change. */
function frame(sentence) {
  const button = (text, label, action) => {
    const made = make("button", { type: "button", textContent: text, onclick: action });
    made.setAttribute("aria-label", label);
    made.title = label;
    return made;
  };
  open = {
    pinned: null, // the word that is held
    stage: make("div", { className: "stage" }), told: make("p", { id: "told" }), legend: make("p", { className: "legend" }),
    place: make("h2"), numbers: make("dl"), cards: [], heads: [],
    back: button("‹", "Sentence before", () => step(-1)), next: button("›", "Next sentence", () => step(1)),
  };
  open.told.setAttribute("aria-live", "polite");
  open.stage.addEventListener("keydown", walk);
  const copy = button("Copy link", "Copy a link to this sentence as it is shown", () => copied(copy));
  const bar = make("div", { className: "bar" }, open.place, open.numbers, copy);
  if (sentences.length > 1) bar.prepend(open.back, open.next);
  for (const model of about.models.keys()) {
    open.cards.push(make("section", { className: "card map" }));
    open.heads.push(heads(sentence, model));
  }
  const cards = make("div", { className: "cards" }, ...open.cards, ...open.heads.filter(element => element.childNodes.length));
  const words = make("section", { className: "card" }, open.stage, open.told, open.legend);
  main.replaceChildren(bar, ...notes(sentence), words, cards);
}

function position() {
  if (!open) return;
  const place = shown.indexOf(current);
  open.place.textContent = `Sentence ${state.line}`;
  open.place.title = place < 0 ? "not among those listed" : `${place + 1} of ${shown.length} listed`;
  open.back.disabled = place === 0 || !shown.length;
  open.next.disabled = place === shown.length - 1;
}

function numbers(sentence) {
  const entry = (name, told, text) => make("div", { title: told }, make("dt", { textContent: name }), make("dd", { textContent: text }));
  const entries = Object.values(measures).filter(measure => measure.of(sentence) !== undefined)
    .map(measure => entry(measure.name, measure.told, measure.show(measure.of(sentence))));
  about.models.forEach(({ name }, model) => {
    const view = open.views[model];
    if (!open.gold || !view || !(state.views[model] || model)) return;
    entries.push(entry(`AER, ${model ? name : nameOf(state.views[0])}`, `Alignment error rate of ${nameOf(state.views[model])}`, rate(errorRate(view.links, open.gold))));
  });
  open.numbers.replaceChildren(...entries);
}

function notes(sentence) {
  if (!sentence.notes) return [];
  const entries = sentence.notes.map(({ kind, src, tgt }) => {
    const words = [...src.map(idx => sentence.src[idx]), ...tgt.map(idx => sentence.tgt[idx])].map(isolated);
    const button = make("button", { type: "button", textContent: `⚑ ${kind}: ${words.join(" ")}` });
    const point = on => {
      src.forEach(idx => open.words.src[idx]?.classList.toggle("pointed", on));
      tgt.forEach(idx => open.words.tgt[idx]?.classList.toggle("pointed", on));
    };
    button.onmouseenter = button.onfocus = () => point(true);
    button.onmouseleave = button.onblur = () => point(false);
    return make("li", {}, button);
  });
  return [make("ul", { className: "notes" }, ...entries)];
}

async function copied(button) {
  const address = String(location);
  try {
    await navigator.clipboard.writeText(address);
  } catch {
    const field = make("textarea", { value: address });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy link"; }, 1500);
}

/* ---- Two lines of words ---- */

function stage(sentence) {
  const noted = side => new Set((sentence.notes || []).flatMap(note => note[side]));
  open.words = {};
  const lines = ["src", "tgt"].map(side => {
    const marked = noted(side);
    open.words[side] = sentence[side].map((word, idx) => {
      const span = make("span", { className: "word", textContent: word, tabIndex: idx ? -1 : 0, dir: "auto" });
      span.classList.toggle("noted", marked.has(idx));
      span.setAttribute("role", "button");
      Object.assign(span.dataset, { side, idx });
      return span;
    });
    const line = make("p", { dir: rtl(sentence[side]) ? "rtl" : "ltr" }, ...open.words[side]);
    line.setAttribute("aria-label", side === "src" ? "Source" : "Target");
    return line;
  });
  open.lines = lines;
  open.svg = document.createElementNS(SVG, "svg");
  open.svg.setAttribute("aria-hidden", "true");
  open.stage.replaceChildren(open.svg, ...lines);
  open.edges = edges(sentence);
  arrange();
}

/** The lines to draw, the most important last. */
function edges({ src, tgt }) {
  const [one, two] = open.views, { gold } = open, found = [];
  for (let link = 0; link < src.length * tgt.length; link++) {
    const s = link % src.length, t = (link - s) / src.length, weight = view => view ? view.rows[t][s] : 0;
    const inOne = one.links.has(link), inTwo = two?.links.has(link);
    const edge = (kind, weight) => found.push({ s, t, weight, kind });
    if (two && inOne !== inTwo) edge(inOne ? "one" : "two", weight(inOne ? one : two));
    else if (inOne) edge(gold && !gold.possible.has(link) ? "linked wrong" : "linked", Math.max(weight(one), weight(two)));
    else if (gold?.sure.has(link)) edge("missed", 1);
    else if (!two && weight(one) >= WEAK) edge("weak", weight(one));
  }
  return found.sort((a, b) => (b.kind === "weak") - (a.kind === "weak"));
}

/** Places words beside or above each other, whichever fits, and draws the lines between them. */
function arrange() {
  const { stage, svg, words } = open;
  stage.classList.remove("columns");
  const columns = open.lines.some(line => line.scrollWidth > stage.clientWidth);
  stage.classList.toggle("columns", columns);
  const zero = svg.getBoundingClientRect();
  const box = span => span.getBoundingClientRect();
  const from = words.src.map(box), to = words.tgt.map(box);
  svg.replaceChildren();
  open.paths = open.edges.map(({ s, t, weight, kind }) => {
    const a = from[s], b = to[t];
    let d;
    if (columns) {
      const [x1, x2] = [a.right - zero.left + 3, b.left - zero.left - 3], [y1, y2] = [a, b].map(r => r.top + r.height / 2 - zero.top);
      const x = (x1 + x2) / 2;
      d = `M${x1} ${y1}C${x} ${y1} ${x} ${y2} ${x2} ${y2}`;
    } else {
      const [y1, y2] = [a.bottom - zero.top + 3, b.top - zero.top - 3], [x1, x2] = [a, b].map(r => r.left + r.width / 2 - zero.left);
      const y = (y1 + y2) / 2;
      d = `M${x1} ${y1}C${x1} ${y} ${x2} ${y} ${x2} ${y2}`;
    }
    const path = draw(svg, "path", { d, class: kind });
    path.style.setProperty("--weight", weight);
    return { path, src: s, tgt: t };
  });
}

function legend() {
  const present = new Set(open.edges.flatMap(({ kind }) => kind === "linked wrong" ? ["wrong"] : kind));
  const [one, two] = about.models.map(({ name }) => isolated(name));
  const entries = [["linked", two ? "link of both" : "link"], ["wrong", "link that is not gold"], ["weak", "weight without a link"],
    ["missed", "sure gold link that is missing"], ["one", `only ${one}`], ["two", `only ${two}`]].filter(([kind]) => present.has(kind));
  if (open.gold) entries.push(["box", "sure gold link"], ["box possible", "possible gold link"]);
  open.legend.replaceChildren(...entries.map(([kind, text]) => make("span", {}, make("i", { className: kind }), text)));
}

/* ---- Matrices ---- */

/** What is shown of a model. */
function titleOf(model) {
  const { read } = about.models[model], key = state.views[model];
  return key || !read ? nameOf(key) : `alignment: ${nameOf(read)}`;
}

function map(sentence, view, model) {
  const card = open.cards[model];
  const title = make("h3", {}, about.models.length > 1 ? `${isolated(about.models[model].name)} ` : "", make("span", { textContent: titleOf(model) }));
  if (!view) {
    card.replaceChildren(title, make("p", { textContent: "This model counts other words in this sentence." }));
    return null;
  }
  const head = (side, idx, ...children) => {
    const th = make("th", { scope: side === "src" ? "col" : "row" }, ...children);
    Object.assign(th.dataset, { side, idx });
    return th;
  };
  const src = sentence.src.map((word, idx) => head("src", idx, make("span", { textContent: word, dir: "auto" })));
  const tgt = sentence.tgt.map((word, idx) => head("tgt", idx, make("bdi", { textContent: word })));
  const other = open.views.length > 1 ? open.views[1 - model] : null;
  const cells = view.rows.map((row, t) => row.map((weight, s) => {
    const link = s + t * sentence.src.length, linked = view.links.has(link);
    const cell = make("td", { title: `${isolated(sentence.src[s])} → ${isolated(sentence.tgt[t])}  ${percent(weight)}${linked ? ", linked" : ""}` });
    if (weight > 0) cell.style.setProperty("--share", `${100 * weight}%`);
    if (weight > .5) cell.classList.add("strong");
    if (linked) cell.classList.add("linked");
    if (linked && other && !other.links.has(link)) cell.classList.add(model ? "two" : "one");
    if (open.gold?.possible.has(link)) cell.classList.add(open.gold.sure.has(link) ? "sure" : "possible");
    Object.assign(cell.dataset, { s, t });
    return cell;
  }));
  const top = make("tr", {}, make("td", { className: "corner" }), ...src);
  const table = make("table", {}, make("thead", {}, top), make("tbody", {}, ...cells.map((row, t) => make("tr", {}, tgt[t], ...row))));
  table.setAttribute("aria-label", "Weights: target words are rows, source words columns");
  card.replaceChildren(title, table);
  return { card, table, cells, heads: { src, tgt } };
}

/** Gives cells the size that there is room for, and the slanted heads the room they need. */
function fit() {
  for (const drawn of open.maps) {
    if (!drawn) continue;
    const { card, table, heads } = drawn, columns = Math.max(1, heads.src.length);
    const beside = open.maps.length > 1 && main.clientWidth > 700 ? 2 : 1;
    const room = main.clientWidth / beside - 80 - Math.max(60, ...heads.tgt.map(th => th.firstChild.offsetWidth));
    const size = Math.max(SMALLEST, Math.min(LARGEST, Math.floor(room / (columns + 1))));
    card.classList.toggle("small", size < 20);
    card.style.setProperty("--size", `${size}px`);
    let height = 0, lean = 0;
    heads.src.forEach((th, idx) => {
      const width = th.firstChild.scrollWidth;
      height = Math.max(height, width * .82 + 22);
      lean = Math.max(lean, width * .58 + 16 - (columns - 1 - idx) * size);
    });
    table.style.setProperty("--head", `${Math.ceil(height)}px`);
    table.style.marginInlineEnd = `${Math.ceil(lean)}px`;
  }
}

/* ---- Layers and heads ---- */

function heads(sentence, model) {
  const { name, views, read } = about.models[model];
  const card = make("section", { className: "card heads" });
  if (!views.length || !sentence.views[model]?.length) return card;
  const layers = [...new Set(views.map(key => key.split(".")[0]))].filter(key => key !== "all");
  const numbers = [...new Set(views.filter(key => key.includes(".")).map(key => key.split(".")[1]))];
  const cell = key => {
    if (!views.includes(key)) return make("td");
    const button = make("button", { type: "button", title: nameOf(key) });
    button.setAttribute("aria-label", nameOf(key) + (key === read ? ", read as the alignment" : ""));
    button.classList.toggle("read", key === read);
    button.dataset.key = key;
    button.onclick = () => go({ views: state.views.map((old, idx) => idx === model ? (key === read ? "" : key) : old) });
    button.append(thumbnail(viewed(sentence, model, key), sentence));
    return make("td", {}, button);
  };
  const th = (scope, text) => make("th", { scope, textContent: text });
  const top = make("tr", {}, th("col", ""), ...numbers.map(head => th("col", `head ${head}`)), th("col", "mean"));
  const body = layers.map(layer => make("tr", {}, th("row", `layer ${layer}`), ...numbers.map(head => cell(`${layer}.${head}`)), cell(layer)));
  if (views.includes("all")) body.push(make("tr", {}, th("row", "all"), ...numbers.map(() => make("td")), cell("all")));
  const title = make("h3", {}, about.models.length > 1 ? `${isolated(name)} ` : "", make("span", { textContent: "layers and heads" }));
  const table = make("table", {}, make("thead", {}, top), make("tbody", {}, ...body));
  card.append(title, table, make("p", { textContent: read ? "★ is what alignments are read from." : "" }));
  return card;
}

/** A small picture of weights, in the colour of cells. */
function thumbnail({ rows }, { src, tgt }) {
  const canvas = make("canvas", { width: Math.max(1, src.length), height: Math.max(1, tgt.length) });
  const probe = document.body.appendChild(make("i"));
  probe.style.color = "var(--cell)";
  const [red, green, blue] = getComputedStyle(probe).color.match(/\d+/g).map(Number);
  probe.remove();
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  rows.forEach((row, t) => row.forEach((weight, s) => image.data.set([red, green, blue, 255 * weight], 4 * (t * src.length + s))));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The next view of the first model, or the one before. */
function turn(steps) {
  const { views, read } = about.models[0];
  if (!views.length) return;
  const keys = views.map(key => key === read ? "" : key);
  const next = keys[(Math.max(0, keys.indexOf(state.views[0])) + steps + keys.length) % keys.length];
  go({ views: [next, state.views[1]] });
}

/* ---- Pointing at words ---- */

function mark(element, name) {
  element.classList.add(name);
  open.marks.push([element, name]);
}

function tag(element, name, value) {
  element.dataset[name] = value;
  open.tags.push([element, name]);
}

/** Highlights what word `idx` of a side is aligned with, and says it. */
function choose(side, idx, only = -1) {
  clear();
  const { views, words, maps } = open, other = side === "src" ? "tgt" : "src";
  const at = o => side === "src" ? [idx, o] : [o, idx], columns = words.src.length, told = [];
  mark(words[side][idx], "chosen");
  for (const drawn of maps) if (drawn) mark(drawn.heads[side][idx], "chosen");
  words[other].forEach((word, o) => {
    const [s, t] = at(o), present = views.filter(Boolean);
    const weights = present.map(view => view.rows[t][s]), linked = present.map(view => view.links.has(s + t * columns));
    maps.forEach((drawn, model) => {
      if (!drawn) return;
      const weight = views[model].rows[t][s], cell = drawn.cells[t][s];
      mark(cell, "lit");
      if (weight >= FAINTEST) tag(cell, "shown", Math.round(100 * weight));
    });
    const most = Math.max(...weights);
    if (most < FAINTEST && !linked.includes(true)) return;
    word.style.setProperty("--share", `${100 * most}%`);
    mark(word, "near");
    if (linked.includes(true)) for (const drawn of maps) if (drawn) mark(drawn.heads[other][o], "near");
    const numbers = weights.map(weight => Math.round(100 * weight)), text = `${numbers.join(" | ")} %`;
    if (most >= LABELLED) tag(word, "weight", numbers.length > 1 ? numbers.join("|") : text);
    told.push([most, o, `${isolated(word.textContent)} ${text}${linked.every(Boolean) ? ", linked" : linked.includes(true) ? ", linked in one" : ""}`]);
  });
  open.stage.classList.add("choosing");
  for (const { path, src, tgt } of open.paths) {
    if ((side === "src" ? src : tgt) === idx && (only < 0 || (side === "src" ? tgt : src) === only)) mark(path, "lit");
  }
  told.sort((a, b) => (b[1] === only) - (a[1] === only) || b[0] - a[0]);
  const eos = side === "tgt" && open.views[0].eos[idx] >= FAINTEST ? ` · end of the sentence ${percent(open.views[0].eos[idx])}` : "";
  open.told.textContent = `${isolated(words[side][idx].textContent)}: ${told.length ? told.map(entry => entry[2]).join(" · ") : "aligned with nothing"}${eos}`;
}

function clear() {
  if (!open) return;
  for (const [element, name] of open.marks) element.classList.remove(name);
  for (const [element, name] of open.tags) delete element.dataset[name];
  [open.marks, open.tags] = [[], []];
  open.stage.classList.remove("choosing");
  open.told.textContent = HELP;
}

/** What an event is at: a word, or a cell. */
function pointed(target) {
  const word = target.closest?.("[data-side]"), cell = target.closest?.("td[data-s]");
  if (word) return [word.dataset.side, +word.dataset.idx];
  return cell ? ["tgt", +cell.dataset.t, +cell.dataset.s] : null;
}

/** Arrow keys, in the direction in which words stand. */
function walk(event) {
  const word = event.target.closest(".word");
  if (!word) return;
  const { side, idx } = word.dataset, columns = open.stage.classList.contains("columns");
  const turned = !columns && word.parentElement.dir === "rtl";
  const [ahead, back] = columns ? ["ArrowDown", "ArrowUp"] : turned ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];
  const across = columns ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
  let next = null;
  if (event.key === ahead) next = open.words[side][+idx + 1];
  else if (event.key === back) next = open.words[side][+idx - 1];
  else if (event.key === "Home") next = open.words[side][0];
  else if (event.key === "End") next = open.words[side].at(-1);
  else if (across.includes(event.key)) {
    const other = open.words[side === "src" ? "tgt" : "src"];
    next = other[Math.min(+idx, other.length - 1)];
  } else if (event.key === "Enter" || event.key === " ") word.click();
  else return;
  event.preventDefault();
  if (!next) return;
  for (const one of open.words[next.dataset.side]) one.tabIndex = one === next ? 0 : -1;
  next.focus();
}

for (const kind of ["mouseover", "focusin"]) {
  main.addEventListener(kind, event => {
    const place = pointed(event.target);
    if (place) choose(...place);
    else if (kind === "mouseover") restore();
  });
}
main.addEventListener("mouseleave", () => restore());
main.addEventListener("click", event => {
  const place = pointed(event.target);
  if (!open || event.target.closest("button")) return;
  open.pinned = place && String(place) !== String(open.pinned) ? place : null;
  restore();
});
addEventListener("keydown", event => {
  if (event.key === "Escape" && open) { open.pinned = null; clear(); listing(false); }
});

/** Back to the word that is held, or to none. */
function restore() {
  if (open?.pinned) choose(...open.pinned); else clear();
}

/* ---- Light and dark ---- */

const THEMES = ["auto", "light", "dark"];
const themed = name => {
  document.documentElement.dataset.theme = name;
  at("theme").textContent = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" }[name];
  at("theme").setAttribute("aria-label", `Colours: ${name}`);
  repaint();
};
/** Thumbnails hold colours of their own. */
function repaint() {
  if (!open) return;
  about.models.forEach((_, model) => {
    for (const button of open.heads[model].querySelectorAll("button")) {
      button.replaceChildren(thumbnail(viewed(sentences[current], model, button.dataset.key), sentences[current]));
    }
  });
}
at("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  themed(next);
  try { localStorage.setItem("theme", next); } catch { /* The choice lasts as long as the page. */ }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

/* ---- Beginning ---- */

prepare();
let kept = null;
try { kept = localStorage.getItem("theme"); } catch { /* As the system has it. */ }
themed(THEMES.includes(kept) ? kept : "auto");
update();
let width = innerWidth;
addEventListener("resize", () => {
  rows();
  if (open && innerWidth !== width) { width = innerWidth; arrange(); fit(); restore(); }
});
document.documentElement.dataset.ready = Math.ceil(performance.now());
