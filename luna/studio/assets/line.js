// Line: the lineage of the report, what differs between two generations, the way back, and whether all is intact.
import { alarm, ask, at, doing, generations, onRunning, onShow, onState, refresh, short, speak, state, text, watch } from "/page.js";

const { make, size, bars, words } = shared;
const SVG = "http://www.w3.org/2000/svg";
const LISTED = 20; // rows of a list
const LONGEST = 140; // characters of a text in it
let data = null, chosen = null;
let touched = false; // whether somebody has chosen what to compare

// -- the lineage

async function draw() {
  data = await ask("/studio/line");
  if (!data.generations.length) { at("canvas").replaceChildren(make("p", { class: "empty" }, "No generation has been sealed yet.")); return; }
  const { width, height, strokes } = data.drawing, svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  for (const { kind, path } of strokes) {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("class", kind);
    line.setAttribute("d", path);
    svg.append(line);
  }
  at("canvas").style.setProperty("--gutter", `${width}px`);
  const list = make("div", { role: "listbox", id: "generations", tabindex: "0", "aria-label": "Generations, newest first; arrow keys choose one" });
  for (const item of [...data.generations].reverse()) {
    const row = make("div", { role: "option", id: `row-${item.gen}`, "aria-selected": "false" }, make("b", {}, item.short), make("span", { class: `state ${item.state.replace(" ", "-")}` }, words[item.state]), make("span", { class: "quiet" }, (item.born || "").slice(0, 10)), make("span", { class: "figure" }, item.scores.recall.value === null ? "–" : item.scores.recall.text.value));
    row.addEventListener("click", () => choose(item.gen));
    list.append(row);
  }
  list.addEventListener("keydown", (event) => {
    const order = [...list.children].map(({ id }) => Number(id.slice(4))), now = order.indexOf(chosen), to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: order.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(order[Math.max(0, Math.min(order.length - 1, to))]);
  });
  at("canvas").replaceChildren(svg, list);
  choose(data.generations.some(({ gen }) => gen === chosen) ? chosen : data.head ?? data.generations[data.generations.length - 1].gen);
  const rows = [...data.moves].reverse().map((move) => make("tr", {}, ...[String(move.move), (move.when || "unknown").replace("T", " ").replace("Z", ""), short(move.generation), move.who, move.why].map((cell) => make("td", {}, cell))));
  at("moves").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...["Move", "When (UTC)", "To", "Who", "Why"].map((title) => make("th", { scope: "col" }, title)))), make("tbody", {}, ...rows)));
}

function choose(gen) {
  const item = data.generations.find((one) => one.gen === gen), list = at("generations");
  for (const row of list.children) row.setAttribute("aria-selected", String(row.id === `row-${gen}`));
  list.setAttribute("aria-activedescendant", `row-${gen}`);
  chosen = gen;
  const facts = [
    ["Parent", typeof item.parent === "number" ? `G${String(item.parent).padStart(3, "0")}` : item.parent], ["Born (UTC)", item.born && item.born.replace("T", " ").replace("Z", "")],
    ["New conversations", item.data.new_conversations], ["Replayed", item.data.replay_samples], ["Steps", item.training.steps],
    ["Training", item.training.walltime_minutes === null ? null : `${item.training.walltime_minutes.toFixed(1)} min`], ["Weights changed", item.evolution.weight_change_percent === null ? null : `${item.evolution.weight_change_percent} %`], ["New bytes kept", size(item.storage.new)],
  ].filter(([, value]) => value !== null && value !== undefined);
  at("detail").replaceChildren(
    make("h3", {}, item.name), make("p", {}, make("span", { class: `state ${item.state.replace(" ", "-")}` }, words[item.state]), item.notes ? ` · ${item.notes}` : ""),
    ...item.marks.map((mark) => make("p", { class: "warning" }, mark)), bars(item, data.scores),
    make("dl", { class: "facts" }, ...facts.map(([title, value]) => make("div", {}, make("dt", {}, title), make("dd", {}, String(value))))),
  );
}

at("save-report").addEventListener("click", () => doing(at("save-report"), async () => {
  const link = make("a", { download: "report.html", href: URL.createObjectURL(new Blob([await text("/studio/report.html")], { type: "text/html" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}));

// -- what differs

const value = (number) => (number === null || number === undefined ? "–" : number.toFixed(3));

const brief = (words) => { const line = String(words).replace(/\s+/g, " "); return line.length > LONGEST ? `${line.slice(0, LONGEST - 1)}…` : line; };

function rows(title, items, line) {
  if (!items || !items.length) return [];
  const list = make("ul", {}, ...items.slice(0, LISTED).map((item) => make("li", {}, line(item))));
  if (items.length > LISTED) list.append(make("li", { class: "quiet" }, `and ${items.length - LISTED} more ('luna diff --json' has all)`));
  return [make("details", {}, make("summary", {}, `${title} (${items.length})`), list)];
}

function differ(found) {
  const scores = Object.entries(found.evals.scores).map(([name, score]) => {
    const { title } = data.scores.find((one) => one.name === name) || { title: name };
    const better = score.better === null ? "" : score.better ? "better" : "worse";
    return make("tr", {}, make("td", {}, title), make("td", {}, value(score.a.value)), make("td", {}, value(score.b.value)), make("td", { class: score.better === false ? "denied" : "promoted" }, better));
  });
  const { flips } = found.evals, weights = found.weights;
  at("difference").replaceChildren(
    make("p", { class: "verdict" }, `${found.verdict.word} ${found.verdict.text}`), ...found.verdict.notes.map((note) => make("p", { class: "quiet" }, note)), ...found.marks.map((mark) => make("p", { class: "warning" }, mark)),
    make("table", {}, make("thead", {}, make("tr", {}, ...["Score", found.a.short, found.b.short, ""].map((title) => make("th", { scope: "col" }, title)))), make("tbody", {}, ...scores)),
    ...(weights.changed_layers === null || weights.changed_layers === undefined ? [] : [make("p", { class: "quiet" }, `Weights: ${weights.changed_layers} of ${weights.total_layers} tensors changed.`)]),
    ...rows("Became right", flips.won, ({ question, a, b }) => `${brief(question)} ${brief(a)} → ${brief(b)}`), ...rows("Became wrong", flips.lost, ({ question, a, b }) => `${brief(question)} ${brief(a)} → ${brief(b)}`),
    ...rows("Conversations added", found.data.added, ({ question, conversation }) => brief(question || conversation.slice(0, 12))), ...rows("Parameters", found.params, ({ key, a, b }) => `${key}: ${a} → ${b}`),
  );
}

at("differ").addEventListener("change", () => { touched = true; });
at("differ").addEventListener("submit", (event) => {
  event.preventDefault();
  const a = at("diff-a").value, b = at("diff-b").value;
  doing(event.submitter, async () => differ(await ask(`/studio/diff?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`)));
});

// -- the way back

at("back").addEventListener("submit", (event) => {
  event.preventDefault();
  const note = at("went-back");
  note.textContent = "Its files are fetched and checked first …";
  doing(event.submitter, async () => {
    const moved = await ask("/studio/rollback", { generation: at("back-to").value, reason: at("reason").value, stay: at("stay").checked });
    note.textContent = `The current best is ${moved.name} now (it was ${short(moved.previous)}).${moved.back ? ` To grow again: ${moved.back}` : ""}`;
    at("reason").value = "";
    await refresh();
    await draw();
    return true;
  }).then((done) => { if (!done) note.textContent = ""; });
});

// -- whether all is intact

at("check").addEventListener("submit", (event) => {
  event.preventDefault();
  doing(at("verify"), async () => { await ask("/studio/verify", { remote: at("remote").checked }); await watch(); });
});
at("verify-stop").addEventListener("click", () => doing(at("verify-stop"), async () => { await ask("/studio/stop", { what: "verify" }); await watch(); }));

let verified = null; // the end that has been shown
onRunning(({ verify }) => {
  if (!verify || (verify.ended && verify.ended === verified)) return;
  const busy = verify.exit_code === null, box = at("verified");
  at("verify").hidden = busy;
  at("verify-stop").hidden = !busy;
  if (busy) {
    const { bytes = 0, total = 0 } = verify.progress || {};
    box.replaceChildren(make("progress", { max: String(total || 1), ...(total ? { value: String(bytes) } : {}), "aria-label": "Reading" }), make("p", { class: "quiet" }, total ? `${size(bytes)} of ${size(total)} read` : "Reading tags, ledger and record …"));
  } else if (verify.stopped) box.replaceChildren(make("p", { class: "note" }, "Stopped before its end."));
  else if (verify.document) {
    const { clean, findings, objects, bytes_read: bytes, generations: all, places } = verify.document;
    box.replaceChildren(
      make("p", { class: `verdict ${clean ? "HEAD" : "denied"}` }, clean ? "All of it is intact." : "Damage was found."), make("p", { class: "quiet" }, `${all.length} generations in ${places.join(", ")}: ${objects} objects, ${size(bytes)} read.`),
      ...findings.map((item) => make("p", { class: item.severity === "note" ? "note" : "warning" }, `${item.where}: ${item.what}. To mend it: ${item.mend}`)),
    );
  } else box.replaceChildren(make("p", { class: "warning" }, verify.lines[verify.lines.length - 1] || `luna verify ended with ${verify.exit_code}.`));
  if (!busy) { verified = verify.ended; speak(box.textContent); }
});

onState(() => {
  const all = state.line.map(({ name }) => name);
  for (const [select, back] of [[at("diff-a"), 2], [at("diff-b"), 1]]) {
    generations(select);
    if (!touched && all.length > 1) select.value = all[all.length - back]; // until somebody chooses, the newest and the one before
  }
  generations(at("back-to"), { filter: ({ state: word }) => !["HEAD", "denied", "unknown"].includes(word) });
});
onShow("line", () => draw().catch(alarm));
