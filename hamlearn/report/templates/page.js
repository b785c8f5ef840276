"use strict";
// Sorting and copying of tables, values of figures, contents, and the browser of test posts. All data is written as text, never as markup.

// --- elements ---------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const paint = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// --- sortable tables ---------------------------------------------------------------------------

function valueOf(row, column) {
  const cell = row.children[column];
  const text = (cell ? cell.firstChild?.textContent ?? "" : "").trim().replace("\u2212", "-").replaceAll(",", "");
  const number = Number.parseFloat(text);
  return Number.isNaN(number) ? text.toLocaleLowerCase() : number;
}

function compare(one, other) {
  if (typeof one === typeof other) return one < other ? -1 : one > other ? 1 : 0;
  return typeof one === "number" ? -1 : 1;
}

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  if (body.rows.length < 3 || table.closest(".caution") || table.matches(".words")) return;
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", class: "sort", title: "sort by this column" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "descending" || (column === 0 && !head.hasAttribute("aria-sort"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...body.rows];
      const movable = rows.filter((row) => !row.classList.contains("reference") && !row.classList.contains("total"));
      const places = movable.map((row) => valueOf(row, column));
      const order = movable.map((_, at) => at);
      order.sort((a, b) => (rising ? 1 : -1) * compare(places[a], places[b]) || a - b);
      const fixed = rows.filter((row) => !movable.includes(row));
      body.append(...order.map((at) => movable[at]), ...fixed);
    });
  });
}

// --- copying of tables -------------------------------------------------------------------------

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // not allowed: by way of a selection
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function copyable(script) {
  const forms = JSON.parse(script.textContent);
  const caption = script.parentElement.querySelector("caption").textContent;
  const buttons = Object.entries(forms).map(([form, text]) => {
    const button = make("button", { type: "button", "aria-label": `Copy as ${form}: ${caption}` }, `copy ${form}`);
    button.addEventListener("click", async () => {
      button.textContent = (await copied(text)) ? "copied" : "not copied";
      setTimeout(() => { button.textContent = `copy ${form}`; }, 1500);
    });
    return button;
  });
  script.parentElement.append(make("div", { class: "copies" }, ...buttons));
}

// --- values of figures -------------------------------------------------------------------------

function speaking(figure) {
  const marks = [...figure.querySelectorAll(".tip")];
  const bubble = make("div", { class: "bubble", hidden: true, "aria-hidden": "true" });
  document.body.append(bubble);
  const show = (mark) => {
    const text = mark.getAttribute("aria-label");
    bubble.hidden = false;
    bubble.textContent = text;
    const area = mark.getBoundingClientRect();
    const left = Math.min(area.left + area.width / 2, document.documentElement.clientWidth - bubble.offsetWidth - 8);
    bubble.style.left = `${Math.max(4, left) + window.scrollX}px`;
    bubble.style.top = `${area.top - bubble.offsetHeight - 6 + window.scrollY}px`;
  };
  const hide = () => { bubble.hidden = true; };
  for (const mark of marks) {
    for (const event of ["pointerenter", "focus"]) mark.addEventListener(event, () => show(mark));
    for (const event of ["pointerleave", "blur"]) mark.addEventListener(event, hide);
    mark.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  }
  const parts = [...figure.querySelectorAll("[data-series]")];
  for (const key of figure.querySelectorAll(".entry")) {
    const highlight = (on) => {
      for (const part of parts) part.classList.toggle("dimmed", on && part.dataset.series !== key.dataset.series);
    };
    for (const event of ["pointerenter", "focus"]) key.addEventListener(event, () => highlight(true));
    for (const event of ["pointerleave", "blur"]) key.addEventListener(event, () => highlight(false));
  }
}

// --- contents ----------------------------------------------------------------------------------

function followContents(nav) {
  const links = [...nav.querySelectorAll("a")];
  const targets = links.map((link) => document.getElementById(decoded(link.hash.slice(1))));
  let waiting = false;
  const mark = () => {
    waiting = false;
    let current = -1;
    targets.forEach((target, at) => { if (target && target.getBoundingClientRect().top < 120) current = at; });
    links.forEach((link, at) => {
      if (at !== current) link.removeAttribute("aria-current");
      else if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "location");
        const list = link.closest("ol");
        list.scrollLeft = link.offsetLeft - list.offsetLeft - list.clientWidth / 3;
        nav.scrollTop = link.offsetTop - nav.offsetTop - nav.clientHeight / 2;
      }
    });
  };
  document.addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  }, { passive: true });
  mark();
}

// --- the browser of posts ---------------------------------------------------------------------

const CORRECT = 0, WRONG_TYPE = 1, SPURIOUS = 2, MISSED = 3;
const LISTED = 100; // posts added to the list at a time
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8A8A", "#E69F00", "#56B4E9"];
const GROUPS = { inside: "#0072B2", cover: "#D55E00", overlap: "#CC79A7" };
const SECTOR = "#8A8A8A";
const POSITIVE = "#0072B2", NEGATIVE = "#D55E00";
const COMPARISONS = {
  all: "all posts",
  wrong: "A has an error",
  right: "A has none",
  better: "A has none, B has one",
  worse: "A has one, B has none",
  differ: "A and B differ",
};

class Browser {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector(".posts").textContent);
    this.blocks = [...root.querySelectorAll(".thumbnails")];
    this.unpacked = new Map();
    this.block = this.blocks.length ? JSON.parse(this.blocks[0].textContent).length : 0;
    this.texts = this.data.posts.map((post) => `${post.words.join(" ")} ${post.id}`.toLocaleLowerCase().replaceAll(/\s+/g, " "));
    this.at = 0;
    this.build();
    this.initial = this.opening();
    this.set(this.initial);
    this.choose();
  }

  // The thumbnail of a post, unpacked together with its block on first use.
  thumbnail(number) {
    if (!this.block) return null;
    const place = Math.floor(number / this.block);
    if (!this.unpacked.has(place)) this.unpacked.set(place, JSON.parse(this.blocks[place].textContent));
    return this.unpacked.get(place)[number % this.block];
  }

  build() {
    const { data } = this;
    const run = (none) => [...(none ? [["", "none"]] : []), ...data.runs.map((one, at) => [String(at), one.name])];
    const named = (list) => [["", "any"], ...list.map((name, at) => [String(at), name])];
    this.a = this.select("A", run(false));
    this.b = this.select("B", run(true));
    if (data.runs.length > 1) this.b.value = "1";
    this.comparison = this.select("show", Object.entries(COMPARISONS));
    this.outcome = this.select("outcome in A", named(data.outcomes));
    this.type = this.select("type", named(data.types));
    this.cue = this.select("cue", [["", "any"], ...data.cues.map((name) => [name, name])]);
    this.picture = this.select("picture", [["", "any"], ["with", "usable"], ["without", "none usable"]]);
    this.search = make("input", { type: "search", placeholder: "words or id", oninput: () => this.change() });
    this.whole = make("input", { type: "checkbox", onchange: () => this.change() });
    this.whole.dataset.name = "whole words";
    this.search.dataset.name = "search";
    const fields = [this.a, this.b, this.comparison, this.outcome, this.type];
    if (data.cues.length) fields.push(this.cue);
    fields.push(this.picture, this.search, this.whole);
    this.fields = fields;
    const labels = fields.map((field) => make("label", {}, field.dataset.name, field));
    this.previous = make("button", { type: "button", onclick: () => this.step(-1) }, "previous");
    this.next = make("button", { type: "button", onclick: () => this.step(1) }, "next");
    this.count = make("output", { "aria-live": "polite" });
    this.link = make("a", { class: "link" }, "link to this post");
    this.list = make("ol", { class: "list", "aria-label": "posts that were found" });
    this.more = make("button", { type: "button", class: "more", onclick: () => this.extend() }, "more");
    this.view = make("article", { class: "post", tabindex: "-1" });
    this.root.append(
      make("div", { class: "filters" }, ...labels),
      make("div", { class: "steps" }, this.previous, this.next, this.count, this.link),
      make("div", { class: "found" }, make("div", { class: "listing" }, this.list, this.more), this.view),
    );
  }

  select(name, options) {
    const field = make("select", { onchange: () => this.change() });
    field.dataset.name = name;
    field.append(...options.map(([value, text]) => make("option", { value }, text)));
    return field;
  }

  // The filters that the browser opens with: the first post on which A and B differ, if any does.
  opening() {
    for (const show of this.data.runs.length > 1 ? ["differ", "wrong"] : ["wrong"]) {
      this.comparison.value = show;
      if (this.data.posts.some((_, number) => this.passes(number))) break;
      this.comparison.value = "all";
    }
    this.whole.checked = true;
    return this.values();
  }

  values() {
    return this.fields.map((field) => (field.type === "checkbox" ? String(field.checked) : field.value));
  }

  set(values) {
    this.fields.forEach((field, at) => {
      if (field.type === "checkbox") field.checked = values[at] === "true";
      else if (field.type === "search" || [...field.options].some((option) => option.value === values[at])) field.value = values[at];
    });
  }

  // The filters that differ from those of the opening, as a query; and back.
  query() {
    const values = this.values();
    const changed = this.fields.map((field, at) => [field.dataset.name, values[at]]).filter((_, at) => values[at] !== this.initial[at]);
    return changed.length ? `?${new URLSearchParams(changed)}` : "";
  }

  read(query) {
    const given = new URLSearchParams(query);
    this.set(this.fields.map((field, at) => given.get(field.dataset.name) ?? this.initial[at]));
    this.choose();
  }

  // A filter was changed by hand: the address holds it.
  change() {
    this.choose();
    history.replaceState(null, "", this.link.hash);
  }

  // Keep the posts that pass every filter, and show the first, or the one shown before.
  choose(wanted = null) {
    const before = wanted ?? this.found?.[this.at];
    this.found = this.data.posts.map((_, number) => number).filter((number) => this.passes(number));
    this.at = Math.max(0, this.found.indexOf(before));
    this.list.replaceChildren();
    this.extend(this.at);
    this.show();
  }

  isRight(post, run) {
    const [predicted, faults] = post.runs[run];
    return faults.length === 0 && predicted.every((entity) => entity[3] === CORRECT);
  }

  passes(number) {
    const post = this.data.posts[number];
    const search = this.search.value.trim().toLocaleLowerCase().replaceAll(/\s+/g, " ");
    const text = this.texts[number];
    if (search && !(this.whole.checked ? ` ${text} `.includes(` ${search} `) : text.includes(search))) return false;
    if (this.picture.value && (this.picture.value === "with") === Boolean(post.unusable)) return false;
    const a = Number(this.a.value);
    const right = this.isRight(post, a);
    const comparison = this.comparison.value;
    if (comparison === "wrong" && right) return false;
    if (comparison === "right" && !right) return false;
    if (["better", "worse", "differ"].includes(comparison)) {
      if (this.b.value === "") return false;
      const other = this.isRight(post, Number(this.b.value));
      if (comparison === "better" && !(right && !other)) return false;
      if (comparison === "worse" && !(!right && other)) return false;
      const spans = (run) => JSON.stringify(post.runs[run][0].map((entity) => entity.slice(0, 3)));
      if (comparison === "differ" && spans(a) === spans(Number(this.b.value))) return false;
    }
    return this.entityPasses(post, a);
  }

  // Outcome, type and cue must hold for the same entity.
  entityPasses(post, run) {
    const outcome = this.outcome.value === "" ? null : Number(this.outcome.value);
    const type = this.type.value === "" ? null : Number(this.type.value);
    const cue = this.data.cues.length ? this.cue.value : "";
    if (outcome === null && type === null && !cue) return true;
    const [predicted, faults] = post.runs[run];
    const spans = new Set(predicted.map(([start, end]) => `${start}-${end}`));
    const gold = post.gold.map(([start, end, entityType, entityCue], at) => {
      const entityOutcome = !faults.includes(at) ? CORRECT : spans.has(`${start}-${end}`) ? WRONG_TYPE : MISSED;
      return [entityOutcome, entityType, entityCue];
    });
    const extra = predicted.filter((entity) => entity[3] === SPURIOUS).map((entity) => [SPURIOUS, entity[2], null]);
    return [...gold, ...extra].some(
      ([entityOutcome, entityType, entityCue]) =>
        (outcome === null || entityOutcome === outcome) && (type === null || entityType === type) && (!cue || entityCue === cue),
    );
  }

  extend(until = 0) {
    const from = this.list.children.length;
    const to = Math.min(this.found.length, Math.max(from + LISTED, until + 1));
    const a = Number(this.a.value);
    for (let at = from; at < to; at += 1) {
      const post = this.data.posts[this.found[at]];
      const right = this.isRight(post, a);
      const mark = make("span", { class: right ? "right" : "wrong", title: right ? "no error in A" : "an error in A" }, right ? "✓" : "✗");
      const button = make("button", { type: "button", onclick: () => this.go(at) }, mark, ` ${post.words.join(" ")}`);
      this.list.append(make("li", {}, button));
    }
    this.more.hidden = to >= this.found.length;
  }

  step(by) {
    if (this.found.length) this.go((this.at + by + this.found.length) % this.found.length);
  }

  go(at) {
    this.at = at;
    if (at >= this.list.children.length) this.extend(at);
    this.show();
    history.replaceState(null, "", this.link.hash);
  }

  // Show the post of an id, whatever the filters; return whether there is one.
  open(id) {
    const number = this.data.posts.findIndex((post) => post.id === id);
    if (number < 0) return false;
    if (!this.found.includes(number)) {
      for (const field of [this.comparison, this.outcome, this.type, this.cue, this.picture]) field.selectedIndex = 0;
      this.search.value = ""; // every post passes
    }
    this.choose(number);
    this.root.scrollIntoView();
    return true;
  }

  show() {
    const total = this.found.length;
    this.previous.disabled = this.next.disabled = total < 2;
    this.link.hidden = total === 0;
    this.link.href = `#post/${encodeURIComponent(this.data.corpus)}/${this.query()}`;
    this.count.value = total ? `${this.at + 1} of ${total} posts` : "no post passes these filters";
    for (const item of this.list.querySelectorAll("[aria-current]")) item.removeAttribute("aria-current");
    if (!total) {
      this.view.replaceChildren();
      return;
    }
    const button = this.list.children[this.at].firstChild;
    button.setAttribute("aria-current", "true");
    this.list.scrollTop = Math.max(0, button.offsetTop - this.list.offsetTop - 60);
    const number = this.found[this.at];
    const post = this.data.posts[number];
    this.link.href = `#post/${encodeURIComponent(this.data.corpus)}/${encodeURIComponent(post.id)}${this.query()}`;
    const gold = this.line("gold", post.words, post.gold.map(([start, end, type]) => [start, end, type, CORRECT]), []);
    const sides = [["A", this.a], ["B", this.b]].filter(([, field]) => field.value !== "");
    this.view.replaceChildren(
      make("p", { class: "id" }, post.id, post.unusable ? make("span", { class: "unusable" }, ` no usable picture (${post.unusable})`) : post.features ? " precomputed features, no image file" : null),
      gold,
      make("div", { class: "sides" }, ...sides.map(([letter, field]) => this.side(letter, Number(field.value), number))),
    );
  }

  // What one run makes of a post: its entities, the relevance, and the picture as it counts.
  side(letter, run, number) {
    const post = this.data.posts[number];
    const [predicted, faults, scores, weights] = post.runs[run];
    const spans = new Set(predicted.map(([start, end]) => `${start}-${end}`));
    const missed = faults.map((at) => post.gold[at]).filter(([start, end]) => !spans.has(`${start}-${end}`));
    const name = `${letter}: ${this.data.runs[run].name}`;
    const parts = [this.line(name, post.words, predicted, missed), this.relevance(scores), ...this.pictures(number, run, weights)];
    return make("div", { class: "side", role: "group", "aria-label": name }, ...parts.filter((part) => part !== null));
  }

  line(name, words, found, missed) {
    const parts = [];
    const beginning = new Map();
    for (const entity of missed) beginning.set(entity[0], [...entity.slice(0, 3), MISSED]);
    for (const entity of found) beginning.set(entity[0], entity);
    let at = 0;
    while (at < words.length) {
      const entity = beginning.get(at);
      if (!entity) {
        parts.push(`${words[at]} `);
        at += 1;
        continue;
      }
      const [start, end, type, outcome] = entity;
      const suffix = outcome === CORRECT ? "" : ` ${this.data.outcomes[outcome]}`;
      const mark = make("mark", { class: `outcome-${outcome}` }, words.slice(start, end).join(" "), make("small", {}, ` ${this.data.types[type]}${suffix}`));
      mark.style.setProperty("--type", COLOURS[type % COLOURS.length]);
      parts.push(mark, " ");
      at = Math.max(end, at + 1);
    }
    return make("p", { class: "line" }, make("b", {}, name), " ", ...parts);
  }

  relevance(scores) {
    if (!scores) return null;
    const parts = this.data.views.map((view, at) => (scores[at] === null ? null : `${view} ${scores[at].toFixed(3).replace("-", "\u2212")}`));
    return make("p", { class: "relevance" }, `relevance of the picture: ${parts.filter((text) => text !== null).join(", ")}`);
  }

  pictures(number, run, weights) {
    const shown = this.data.runs[run].detector;
    const source = this.thumbnail(number);
    if (!source) return [];
    const image = make("img", { src: source, alt: "" });
    const frame = make("div", { class: "frame" }, image);
    const found = this.data.objects[shown]?.posts[number];
    if (!found) return [frame];
    const [boxes, edges] = found;
    const { classes } = this.data.objects[shown];
    const colour = (at) => COLOURS[at % COLOURS.length];
    const middle = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2];
    const describe = (at) => `${at + 1} ${classes[boxes[at][4]]} ${boxes[at][5].toFixed(2)}`;
    const relation = (kind) => (kind === null ? null : this.data.relations[kind]);
    const weighed = weights && weights.length === boxes.length + 1 ? weights : null;
    const most = weighed ? Math.max(...weighed.map(Math.abs), 1e-9) : 1;
    const part = (at) => (weighed ? weighed[at] / most : 0); // of the largest contribution
    const shapes = boxes.map(([left, top, right, bottom], at) =>
      paint("rect", { x: left, y: top, width: right - left, height: bottom - top, stroke: colour(at), "fill-opacity": 0.5 * Math.abs(part(at + 1)), fill: weighed ? (part(at + 1) < 0 ? NEGATIVE : POSITIVE) : "none" }, paint("title", {}, describe(at))),
    );
    const lines = [];
    const sentences = [];
    for (const [rank, [i, j, there, back]] of edges.entries()) {
      const [x1, y1] = middle(boxes[i]);
      const [x2, y2] = middle(boxes[j]);
      const directions = [[i, j, there], [j, i, back]].filter(([, , kind]) => kind !== null);
      const text = directions.map(([from, to, kind]) => `${describe(from)} to ${describe(to)}: ${relation(kind)}`).join("; ");
      const stroke = GROUPS[relation(there)] ?? GROUPS[relation(back)] ?? SECTOR;
      lines.push(paint("line", { x1, y1, x2, y2, stroke, "stroke-width": Math.max(1, 4 - rank) }, paint("title", {}, text)));
      sentences.push(make("li", {}, text));
    }
    frame.append(paint("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" }, ...shapes, ...lines));
    boxes.forEach((box, at) => {
      const number_ = make("span", { class: "number", title: describe(at) }, String(at + 1));
      number_.style.left = `${box[0] / 10}%`;
      number_.style.top = `${box[1] / 10}%`;
      number_.style.borderColor = colour(at);
      frame.append(number_);
    });
    const row = (at, text) => {
      const bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${100 * Math.abs(part(at))}%`;
      bar.style.background = part(at) < 0 ? NEGATIVE : POSITIVE;
      const value = `${weighed?.[at] < 0 ? "\u2212" : "+"}${Math.abs(weighed?.[at] ?? 0).toFixed(2)}`;
      return make("li", {}, text, weighed ? ` ${value}` : "", weighed ? make("span", { class: "track", "aria-hidden": "true" }, bar) : null);
    };
    const names = make("ol", { class: "objects" }, ...boxes.map((box, at) => row(at + 1, `${classes[box[4]]} ${box[5].toFixed(2)}`)));
    const whole = weighed ? make("ul", { class: "objects" }, row(0, "whole picture")) : null;
    const title = weighed ? `objects, ${shown}: score, and what each contributes to the entities` : `objects, ${shown}`;
    const relations = sentences.length
      ? make("details", {}, make("summary", {}, `${sentences.length} strongest ${sentences.length === 1 ? "relation" : "relations"}`), make("ul", {}, ...sentences))
      : null;
    return [frame, make("div", { class: "seen" }, make("p", {}, title), boxes.length ? names : make("p", {}, "none found"), whole ?? "", relations ?? "")];
  }
}

// --- the page ---------------------------------------------------------------------------------

// A part of the address, decoded if it is encoded rightly: anybody may have written it.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function begin() {
  document.querySelectorAll("main table").forEach(sortable);
  document.querySelectorAll(".forms").forEach(copyable);
  document.querySelectorAll("figure").forEach((figure) => { if (figure.querySelector(".tip, .entry")) speaking(figure); });
  const browsers = [...document.querySelectorAll(".browser")].map((root) => new Browser(root));
  let last = browsers[0];
  const follow = () => {
    const [path, query] = location.hash.slice(1).split(/\?(.*)/s);
    const [kind, corpus, id] = path.split("/").map(decoded);
    const named = kind === "post" && browsers.find((browser) => browser.data.corpus === corpus);
    if (!named) return;
    if (query) named.read(query);
    if (id ? named.open(id) : query) last = named;
  };
  for (const browser of browsers) {
    for (const event of ["focusin", "pointerdown"]) browser.root.addEventListener(event, () => { last = browser; });
  }
  document.addEventListener("keydown", (event) => {
    if (!last || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    const steps = { j: 1, n: 1, ArrowRight: 1, k: -1, p: -1, ArrowLeft: -1 };
    const area = last.root.getBoundingClientRect();
    const seen = area.top < window.innerHeight && area.bottom > 0;
    if (event.key === "/" && seen) last.search.focus();
    else if (event.key in steps && seen) last.step(steps[event.key]);
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", follow);
  follow();
  document.querySelectorAll(".contents").forEach(followContents);
  document.documentElement.dataset.ready = "yes";
}

begin();
