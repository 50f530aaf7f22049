// The page of the explorer. Texts of the corpus become nodes by textContent only; nothing here makes markup of strings.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const NEAR = 20; // best ranks that are shown before anybody asks for more
const SIGNS = { entered: "+", left: "−", back: "↺" };
const MEANS = { entered: "entered", left: "left", back: "came back" };
const REASONS = {
  near_duplicate: "near-duplicate of a positive", above_positive: "scored above the positive",
  persistently_top: "persistently at the top",
};
const VERDICTS = ["relevant", "negative", "unsure"];
const state = { run: null, list: null, query: null, filter: "all", whole: false, search: null };

// ---- small helpers -------------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  fill(node, attributes, children);
  return node;
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  fill(node, attributes, children);
  return node;
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== "").map((child) =>
    child instanceof Node ? child : document.createTextNode(child)));
}

async function call(path, body, signal) {
  const options = body === undefined ? { signal }
    : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The explorer does not answer; is `ance-tele serve` still running?");
  }
  const answer = await response.json().catch(() => ({ error: `The explorer answered with ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function complain(sentence) {
  $("error").hidden = !sentence;
  $("error").textContent = sentence || "";
}

// Runs what may fail; a request that was given up for a newer one is no failure.
async function attempt(work) {
  try {
    complain("");
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") complain(error.message);
    return null;
  }
}

function current(node, on) {
  if (on) node.setAttribute("aria-current", "page");
  else node.removeAttribute("aria-current");
}

const announce = (sentence) => { $("status").textContent = sentence; };
const number = (value) => value.toLocaleString("en");
const plural = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;
const named = (passage) => passage.title || passage.id;
const link = (view, values) => `#/${view}?${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`;

// ---- the address decides what is shown ------------------------------------------------------

function address() {
  const [view, values] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: view || "search", values: new URLSearchParams(values || "") };
}

async function show() {
  const { view, values } = address();
  const searching = view === "search";
  $("search-view").hidden = !searching;
  $("queries-view").hidden = searching;
  current($("to-search"), searching);
  current($("to-queries"), !searching);
  document.title = `${searching ? "Search" : "Training queries"} · ${state.run.run} · ance-tele`;
  if (searching) {
    $("words").value = values.get("words") || "";
    $("k").value = values.get("k") || "10";
    $("coming").hidden = Boolean(values.get("words"));
    $("examples").hidden = Boolean(values.get("words")) || state.run.examples.length === 0;
    if (values.get("words")) await attempt(() => search($("words").value, Number($("k").value)));
    else { state.search?.controller.abort(); $("columns").replaceChildren(); $("columns").hidden = true; $("found").textContent = ""; complain(""); }
    return;
  }
  $("filter-words").value = values.get("words") || "";
  $("sort").value = values.get("sort") || "";
  $("queries-view").classList.toggle("chosen", values.has("id"));
  await attempt(async () => {
    const wanted = new URLSearchParams(["sort", "words", "page"].filter((key) => values.get(key)).map((key) => [key, values.get(key)]));
    if (state.list !== String(wanted)) await list(wanted);
    await follow(values.get("id"));
  });
}

const go = (changes) => { location.hash = link("queries", { ...Object.fromEntries(address().values), ...changes }); };

function showRun(run) {
  $("run").textContent = run.run;
  $("about").textContent = `${run.recipe} · ${run.collection}, ${number(run.passages)} passages · from ${run.model}`;
  $("sort").append(...run.sorts.map((sort) => el("option", { value: sort.name, disabled: !sort.there }, sort.label)));
  $("examples-heading").textContent = `Queries of the ${run.split} split, to begin with`;
  $("example-list").append(...run.examples.map((words) => el("li", {}, el("a", { href: link("search", { words }) }, words))));
  showComing();
  $("notice").hidden = !run.notice;
  $("notice").textContent = run.notice;
  showReview(run.review);
}

function showReview(review) {
  const { counts, path, exists } = review;
  const total = VERDICTS.reduce((sum, verdict) => sum + counts[verdict], 0);
  $("review").replaceChildren(...(total === 0 && !exists ? ["Nothing marked yet"] : [
    el("b", { class: "num" }, plural(total, "mark")), ` (${VERDICTS.map((verdict) => `${counts[verdict]} ${verdict}`).join(", ")}) in `,
    el("a", { href: "/review.csv", title: path }, `${state.run.run}/review.csv`)]));
}

// ---- search --------------------------------------------------------------------------------------

const STATES = { encoding: "being encoded …", waiting: "waiting to be encoded" };
const coming = () => state.run.columns.filter((column) => column.state in STATES);

async function search(words, k) {
  state.search?.controller.abort();
  const asked = (state.search = { words, k, controller: new AbortController(), columns: state.run.columns.map(newColumn) });
  $("columns").hidden = false;
  $("columns").replaceChildren(...asked.columns.map((column) => column.box));
  $("found").textContent = "Asking …";
  try {
    await fillColumns(asked);
  } catch (error) {
    if (error.name !== "AbortError") { asked.controller.abort(); $("columns").replaceChildren(); $("found").textContent = ""; }
    throw error;
  }
}

function newColumn({ checkpoint, label }) {
  const hits = el("ol"), note = el("p", { class: "quiet" });
  return { checkpoint, hits, note, asked: false, found: null, box: el("div", { class: "column" }, el("h3", {}, label), note, hits) };
}

// Asks every checkpoint that is ready and has not been asked, and shows of the others why they are not.
async function fillColumns(asked) {
  const { words, k, controller: { signal } } = asked;
  for (const column of asked.columns) showState(column);
  for (const column of asked.columns.filter((one) => one.ready && !one.asked)) {
    column.asked = true;
    try {
      column.found = (await call("/api/search", { words, k, checkpoint: column.checkpoint }, signal)).hits;
    } catch (error) {
      column.asked = false;
      throw error;
    }
    column.hits.replaceChildren(...column.found.map(showHit));
    showState(column);
    compareColumns(asked.columns);
  }
  if (asked.columns.some((column) => column.ready && !column.found)) return; // being asked since the last news
  const answered = asked.columns.filter((column) => column.found), most = Math.max(0, ...answered.map((column) => column.found.length));
  $("found").textContent = answered.length === 0 ? "No model can be asked: there are no vectors of the passages."
    : `The best ${most} passages of ${plural(answered.length, "model")}; point at one to see where the others have it.`;
}

function showState(column) {
  const { state: now, why } = state.run.columns.find((one) => one.checkpoint === column.checkpoint);
  column.ready = now === "ready";
  column.box.classList.toggle("coming", !column.ready);
  column.note.textContent = column.ready ? (column.found ? "" : "…") : STATES[now] ?? `left out: ${why}`;
  column.note.hidden = column.note.textContent === "";
  if (column.ready && !column.found) column.hits.setAttribute("aria-busy", "true");
  else column.hits.removeAttribute("aria-busy");
}

// Each passage against the nearest column before that has answered; one that comes later may stand between two.
function compareColumns(columns) {
  let before = null;
  for (const { found, hits } of columns.filter((column) => column.found)) {
    found.forEach((hit, row) => hits.children[row].querySelector(".moved").replaceChildren(...[moved(hit, before)].filter(Boolean)));
    before = new Map(found.map((hit) => [hit.id, hit.rank]));
  }
}

function showComing() {
  const left = state.run.columns.filter((column) => column.state === "left out");
  const names = coming().map((column) => column.label).join(", ");
  const lines = [names && `Being encoded, and added here as they are ready: ${names}.`, ...left.map((column) => `Left out: ${column.label}. ${column.why}`)];
  $("coming").replaceChildren(...lines.filter(Boolean).map((line) => el("p", {}, line)));
}

// Asks for news while something is coming, and not any longer.
function awaitColumns() {
  if (coming().length > 0) setTimeout(async () => {
    const before = new Set(coming().map((column) => column.checkpoint));
    try {
      state.run.columns = (await call("/api/columns")).columns;
    } catch { /* it may be back, and if not the next question tells */ }
    const added = state.run.columns.filter((column) => column.state === "ready" && before.has(column.checkpoint));
    showComing();
    if (added.length > 0) announce(`Added: ${added.map((column) => column.label).join(", ")}`);
    awaitColumns();
    if (!state.search || state.search.controller.signal.aborted) return;
    await fillColumns(state.search).catch((error) => { if (error.name !== "AbortError") complain(error.message); });
  }, 2000);
}

function moved(hit, before) {
  if (before === null) return null;
  const was = before.get(hit.id);
  if (was === undefined) return el("span", { class: "new", title: "not in the column before" }, "+ new");
  const by = was - hit.rank;
  return by === 0 ? el("span", { title: `also ${was} in the column before` }, "=")
    : el("span", { class: by > 0 ? "up" : "down", title: `${was} in the column before` }, `${by > 0 ? "▲" : "▼"} ${Math.abs(by)}`);
}

function showHit(hit, row) {
  const light = (on) => () => {
    for (const other of document.querySelectorAll(".hit")) other.classList.toggle("same", on && other.dataset.id === hit.id);
  };
  const toggle = (event) => event.currentTarget.setAttribute("aria-expanded", event.currentTarget.getAttribute("aria-expanded") !== "true");
  return el("li", { class: "hit", "data-id": hit.id, mouseenter: light(true), mouseleave: light(false), focusin: light(true), focusout: light(false) },
    el("button", { type: "button", "aria-expanded": "false", "data-row": row, click: toggle },
      el("span", { class: "top num" }, el("b", {}, String(hit.rank)), el("span", { class: "moved" }), el("span", { class: "score", title: "score" }, hit.score.toFixed(3))),
      el("span", { class: "title" }, named(hit)),
      hit.title ? el("span", { class: "quiet" }, hit.id) : null,
      el("span", { class: "text" }, hit.text)));
}

// ---- the list of training queries ----------------------------------------------------------------

async function list(wanted) {
  const found = await call(`/api/queries?${wanted}`);
  state.list = String(wanted);
  const first = (found.page - 1) * found.size;
  $("list-count").textContent = found.total === 0 ? "No training query holds that."
    : `${number(first + 1)}–${number(first + found.queries.length)} of ${plural(found.total, "training query", "training queries")}`;
  $("list").hidden = found.total === 0;
  $("list").replaceChildren(...found.queries.map((query) => {
    const values = { ...Object.fromEntries(wanted), id: query.id };
    const figures = [`${state.run.metric} ${query.mrr.at(-1).toFixed(2)}`];
    if (query.falls) figures.push(`▼ ${plural(query.falls, "fall")}, −${query.lost.toFixed(2)}`);
    if (query.swings) figures.push(`↺ ${query.swings}`);
    if (query.suspects) figures.push(`⚑ ${plural(query.suspects, "suspect")}`);
    return el("li", {}, el("a", { href: link("queries", values), "data-id": query.id }, el("span", {}, query.text),
      el("span", { class: "quiet num" }, figures.join(" · ")), spark(query.mrr)));
  }));
  $("page").textContent = `page ${number(found.page)} of ${number(found.pages)}`;
  $("previous").disabled = found.page <= 1;
  $("next").disabled = found.page >= found.pages;
  $("previous").onclick = () => go({ page: found.page - 1, id: "" });
  $("next").onclick = () => go({ page: found.page + 1, id: "" });
}

function line(values, x, y) {
  return values.slice(1).map((value, at) => svg("path", {
    class: value < values[at] ? "path fall" : "path", d: `M${x(at)} ${y(values[at])}L${x(at + 1)} ${y(value)}`,
  }));
}

function spark(mrr) {
  const x = (at) => 4 + (at * 64) / Math.max(1, mrr.length - 1), y = (value) => 23 - value * 20;
  return svg("svg", { viewBox: "0 0 72 26", "aria-hidden": "true" }, svg("path", { class: "grid", d: "M4 23H68" }), ...line(mrr, x, y),
    svg("circle", { cx: x(mrr.length - 1), cy: y(mrr.at(-1)), r: 2.5 }));
}

// ---- one training query --------------------------------------------------------------------------

async function follow(id) {
  for (const other of $("list").querySelectorAll("a")) current(other, other.dataset.id === id);
  if (!id || state.query?.id === id) return;
  $("case").setAttribute("aria-busy", "true");
  try {
    state.query = await call(`/api/query?${new URLSearchParams({ id })}`);
  } finally {
    $("case").removeAttribute("aria-busy");
  }
  if (address().values.get("id") !== id) { state.query = null; return follow(address().values.get("id")); }
  Object.assign(state, { filter: "all", whole: false });
  showCase();
}

function showCase() {
  const query = state.query, back = link("queries", { ...Object.fromEntries(address().values), id: "" });
  const facts = [query.id, plural(query.negatives.length, "negative")];
  if (query.falls !== undefined) facts.push(`${plural(query.falls, "fall")}, ${query.lost.toFixed(2)} lost`, plural(query.swings, "swing"), plural(query.suspects, "suspect"));
  $("case").replaceChildren(el("a", { class: "backlink", href: back }, "← training queries"),
    el("h2", {}, query.text), el("p", { class: "facts quiet num" }, facts.map((fact) => el("span", {}, fact))),
    chart(query.mrr),
    el("h3", {}, query.positives.length === 1 ? "Relevant passage" : "Relevant passages"), ...query.positives.map(showPositive),
    el("h3", { id: "negatives" }, "Negatives through the rounds"), el("div", { id: "table" }));
  showTable();
  window.scrollTo(0, 0);
  if (!$("list-pane").offsetParent) $("case").focus({ preventScroll: true }); // a narrow window shows one of the two
  announce(`${query.text}: ${plural(query.negatives.length, "negative")}`);
}

function chart(mrr) {
  const x = (at) => 60 + (at * 560) / Math.max(1, mrr.length - 1), y = (value) => 130 - value * 100;
  const label = (at) => (at === 0 ? "zero-shot" : `episode ${at}`), fell = (at) => at > 0 && mrr[at] < mrr[at - 1];
  return svg("svg", { class: "chart", viewBox: "0 0 680 160", role: "img", "aria-label": `${state.run.metric}: ${mrr.map((value, at) => `${label(at)} ${value.toFixed(2)}`).join(", ")}` },
    ...[0, 0.5, 1].map((value) => svg("g", {}, svg("path", { class: "grid", d: `M40 ${y(value)}H640` }), svg("text", { x: 20, y: y(value) + 4 }, String(value)))),
    ...line(mrr, x, y),
    ...mrr.map((value, at) => svg("g", {}, svg("circle", { cx: x(at), cy: y(value), r: 4 }),
      svg("text", { class: fell(at) ? "value down" : "value", x: x(at), y: y(value) - 10 }, `${fell(at) ? "▼ " : ""}${value.toFixed(2)}`),
      svg("text", { x: x(at), y: 152 }, label(at)))));
}

function showPositive(passage) {
  const ranks = state.run.rounds.map((round, at) => `${round.label}: ${passage.ranks[at] ?? "–"}`).join(" · ");
  return el("div", { class: "positive" }, foldable(passage), el("p", { class: "quiet num" }, `rank by ${ranks}`));
}

function foldable(passage) {
  const toggle = (event) => event.currentTarget.setAttribute("aria-expanded", event.currentTarget.getAttribute("aria-expanded") !== "true");
  return el("button", { type: "button", class: "more", "aria-expanded": "false", click: toggle },
    el("span", { class: "title" }, named(passage)), el("span", { class: "text" }, passage.text));
}

const FILTERS = {
  all: ["all", () => true],
  back: ["↺ came back", (passage) => passage.marks.includes("back")],
  suspects: ["⚑ suspects", (passage) => passage.reasons.length > 0],
};

function showTable() {
  const { negatives, verdicts } = state.query;
  const kept = negatives.filter(FILTERS[state.filter][1]);
  // Whoever asks for a few of a kind wants all of them; marked ones are never out of sight.
  if (state.filter === "suspects") kept.sort((one, other) => other.suspicion - one.suspicion);
  const near = kept.filter((passage) => state.filter !== "all" || state.whole || (passage.best ?? Infinity) <= NEAR || verdicts[passage.id]);
  const choose = (name) => () => { Object.assign(state, { filter: name }); showTable(); $("table").querySelector(`[data-filter=${name}]`).focus(); };
  const choices = Object.entries(FILTERS).map(([name, [label, holds]]) => el("button", {
    type: "button", "data-filter": name, "aria-pressed": String(state.filter === name), click: choose(name),
  }, `${label} ${negatives.filter(holds).length}`));
  const heads = state.run.rounds.map((round) => el("th", { class: "rank", scope: "col", role: "columnheader" }, `round ${round.number}`, el("br"), round.label));
  $("table").replaceChildren(
    el("div", { class: "tools" }, el("div", { class: "choice", role: "group", "aria-label": "Which negatives" }, choices),
      el("span", { class: "quiet" }, "rank in each round: ", ...["entered", "left", "back"].flatMap((mark) => [el("span", { class: mark }, `${SIGNS[mark]} ${MEANS[mark]}`), "  "])),
      el("span", { class: "quiet keys" }, "↑ ↓ choose a row, ", ...["r", "n", "u"].flatMap((key) => [el("kbd", {}, key), " "]), "mark it")),
    near.length === 0 ? el("p", { class: "empty" }, "No negative of this kind.") : el("table", { role: "table", "aria-labelledby": "negatives" },
      el("thead", {}, el("tr", { role: "row" }, el("th", { scope: "col", role: "columnheader" }, "passage"), heads, el("th", { scope: "col", role: "columnheader" }, "verdict"))),
      el("tbody", {}, near.map(showNegative))),
    near.length < kept.length ? el("button", { type: "button", class: "all", click: () => { state.whole = true; showTable(); document.querySelectorAll("tbody tr")[near.length].focus(); } },
      `Show all ${number(kept.length)} (${number(kept.length - near.length)} more, best rank over ${NEAR} or never in its lists)`) : "");
}

function showNegative(passage, at) {
  const ranks = state.run.rounds.map((round, number) => {
    const mark = passage.marks[number], rank = passage.ranks[number];
    return el("td", { class: `rank ${mark}`, role: "cell", "data-label": round.label, title: mark && `round ${round.number}: ${MEANS[mark]}` },
      mark ? el("span", { class: "hidden" }, `${MEANS[mark]} `) : "", mark ? el("span", { "aria-hidden": "true" }, `${SIGNS[mark]} `) : "", rank === null ? null : String(rank));
  });
  const sources = passage.sources.map(({ source, episodes }) => {
    const { title, colour } = state.run.sources[source] ?? { title: source };
    const shown = el("span", { class: "source" }, `${title} in ${episodes.length === 1 ? "pool" : "pools"} ${episodes.join(", ")}`);
    if (colour) shown.style.setProperty("--dot", colour);
    return shown;
  });
  const reasons = passage.reasons.length ? el("span", { class: "suspect" }, `⚑ ${passage.reasons.map((reason) => REASONS[reason] ?? reason).join(", ")}`) : "";
  const buttons = VERDICTS.map((verdict) => el("button", { type: "button", "data-verdict": verdict, click: () => mark(passage, verdict) }, verdict));
  const row = el("tr", { role: "row", tabindex: at === 0 ? 0 : -1, "data-id": passage.id, focus: roam },
    el("td", { role: "cell" }, foldable(passage), el("div", { class: "under" }, passage.title ? el("span", {}, passage.id) : "", reasons, sources)), ranks,
    el("td", { class: "verdict", role: "cell" }, el("div", { class: "choice", role: "group", "aria-label": `Verdict on ${named(passage)}` }, buttons)));
  showVerdict(row, state.query.verdicts[passage.id]);
  return row;
}

// Tab stops at one row of the table; the arrows move between them.
function roam(event) {
  for (const row of event.currentTarget.parentNode.children) row.tabIndex = row === event.currentTarget ? 0 : -1;
}

function showVerdict(row, verdict) {
  if (verdict) row.dataset.verdict = verdict;
  else delete row.dataset.verdict;
  for (const button of row.querySelectorAll(".verdict button")) button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
}

async function mark(passage, verdict) {
  const query = state.query, taken = query.verdicts[passage.id] === verdict;
  await attempt(async () => {
    const answer = await call("/api/review", { query_id: query.id, passage_id: passage.id, verdict: taken ? null : verdict });
    query.verdicts = answer.verdicts;
    showReview(answer.review);
    announce(taken ? `Mark taken back: ${named(passage)}` : `Marked ${verdict}: ${named(passage)}`);
    if (state.query !== query) return;
    const row = [...document.querySelectorAll("tbody tr")].find((one) => one.dataset.id === passage.id);
    if (row) showVerdict(row, query.verdicts[passage.id]);
  });
}

// ---- keys ----------------------------------------------------------------------------------------

function arrow(event) {
  const here = document.activeElement, step = { ArrowDown: 1, ArrowUp: -1 }[event.key], side = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const column = here.closest(".column");
  if (column) {
    const answered = [...document.querySelectorAll(".column:not(.coming)")], at = answered.indexOf(column) + (side ?? 0);
    const rows = [...answered[at]?.querySelectorAll(".hit button") ?? []];
    return rows[Math.min(Number(here.dataset.row) + (step ?? 0), rows.length - 1)];
  }
  if (!step) return null;
  const item = here.closest(".list li, tbody tr"), next = step > 0 ? item?.nextElementSibling : item?.previousElementSibling;
  return next?.matches("tr") ? next : next?.querySelector("a");
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  if (event.key === "/") {
    event.preventDefault();
    const box = $(address().view === "search" ? "words" : "filter-words");
    if (!box.offsetParent) go({ id: "" });
    box.select();
    return box.focus();
  }
  if (event.key.startsWith("Arrow")) {
    const next = arrow(event);
    if (next) { event.preventDefault(); next.focus(); next.scrollIntoView({ block: "nearest", inline: "nearest" }); }
    return;
  }
  const verdict = VERDICTS.find((name) => name[0] === event.key), row = document.activeElement.closest("tbody tr");
  if (verdict && row) {
    event.preventDefault();
    mark(state.query.negatives.find((passage) => passage.id === row.dataset.id), verdict);
  }
}

// ---- begin ---------------------------------------------------------------------------------------

attempt(async () => {
  state.run = await call("/api/run");
  showRun(state.run);
  awaitColumns();
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = $("words").value.trim(), to = link("search", { words, k: $("k").value });
    if (!words) return complain("The query is empty; give some words to search for.");
    if (words.length > state.run.most.characters) return complain(`The query has ${number(words.length)} characters; shorten it to ${number(state.run.most.characters)}.`);
    if (location.hash === to) show();
    else location.hash = to;
  });
  $("k").addEventListener("change", () => { if ($("words").value.trim()) $("search").requestSubmit(); });
  $("filter").addEventListener("submit", (event) => { event.preventDefault(); go({ words: $("filter-words").value.trim(), page: "", id: "" }); });
  $("filter-words").addEventListener("change", () => $("filter").requestSubmit());
  $("sort").addEventListener("change", () => go({ sort: $("sort").value, page: "", id: "" }));
  document.addEventListener("keydown", key);
  window.addEventListener("hashchange", show);
  await show();
});
