// Grow: what waits, a file to bring in, and a build that is watched until its verdict.
import { alarm, ask, at, doing, onRunning, onShow, onState, refresh, short, speak, state, watch } from "/page.js";
import { waiting } from "/talk.js";

const { make, size, bars } = shared;
const ONCE = ["base", "general"]; // stages that a line runs once, and again where what they rest on has changed
const STAGES = ["prep", "keyframe", "train", "export", "evaluate", "promote"];
const SVG = "http://www.w3.org/2000/svg";
const LISTED = 12; // conversations shown before the rest is asked for
const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// -- what waits

document.addEventListener("outlook", ({ detail }) => outlook(detail));

function outlook({ count: all, conversations, tokens, foreseen }) {
  if (!all) { at("outlook").replaceChildren(make("p", { class: "quiet" }, "Nothing waits to be learnt. Drop a file, or correct an answer in Talk.")); return; }
  const about = tokens.exact ? "" : "about ", next = conversations.filter((row) => row.next).length;
  const list = make("ul", { class: "plain waits" });
  const fill = (rows) => list.append(...rows.map((row) => make("li", {}, make("span", {}, row.question), make("span", { class: "figure" }, `${about}${count(row.tokens, "token", "tokens")}${row.next ? "" : ", later"}`))));
  fill(conversations.slice(0, LISTED));
  const parts = [
    make("p", {}, make("b", {}, count(all, "conversation", "conversations")), `, ${about}${count(tokens.median, "token", "tokens")} in the median, ${about}${tokens.longest.toLocaleString("en")} in the longest (the window of the training holds ${tokens.window.toLocaleString("en")}).`),
    ...foreseen.map((sentence) => make("p", { class: "note" }, sentence)), list,
  ];
  if (conversations.length > LISTED) {
    const more = make("button", { type: "button", class: "small" }, `Show ${count(conversations.length - LISTED, "more", "more")}`);
    more.addEventListener("click", () => { fill(conversations.slice(LISTED)); more.remove(); });
    parts.push(more);
  }
  if (next < conversations.length) parts.push(make("p", { class: "quiet" }, "What is marked 'later' waits for another generation."));
  at("outlook").replaceChildren(...parts);
}

// -- bringing in

let upload = null;

async function take(file) {
  if (!file) return;
  if (file.size > state.most_bytes) { alarm(new Error(`${file.name} is larger than ${size(state.most_bytes)}: give it to 'luna import' in a terminal.`)); return; }
  at("survey").replaceChildren(make("p", { class: "quiet" }, `Reading ${file.name} (${size(file.size)}) …`));
  const done = await doing(null, async () => {
    upload = (await ask(`/studio/upload?name=${encodeURIComponent(file.name)}`, file)).upload;
    await look(file.name);
    return true;
  });
  if (!done) at("survey").replaceChildren();
  at("file").value = "";
}

async function look(name, sides = {}) {
  survey(name, await ask("/studio/import", { upload, dry_run: true, ...sides }), sides);
}

function survey(name, found, sides) {
  const parts = [make("h4", {}, `${name}: nothing is imported yet`)];
  const numbers = [[found.taken, "to take"], [found.known, "known already"], [found.repeated, "repeated"], [found.rejected, "cannot be used"]].filter(([number], index) => number || !index);
  parts.push(make("p", {}, `${count(found.read, "conversation", "conversations")} read: ${numbers.map(([number, words]) => `${number.toLocaleString("en")} ${words}`).join(", ")}.`));
  const listed = (title, table) => Object.keys(table).length && parts.push(make("p", { class: "quiet" }, `${title}: ${Object.entries(table).map(([key, number]) => `${key.replaceAll("_", " ")} ${number.toLocaleString("en")}`).join(", ")}`));
  listed("Mended", found.mended);
  listed("Rejected", found.reasons);
  if (found.taken) {
    const { tokens, secrets } = found, about = tokens.exact ? "" : "about ";
    listed("Languages", found.languages);
    parts.push(make("p", { class: "quiet" }, `Tokens: ${about}${tokens.median.toLocaleString("en")} in the median, ${about}${tokens.longest.toLocaleString("en")} in the longest; ${about}${tokens.beyond.toLocaleString("en")} longer than the window of ${tokens.window.toLocaleString("en")} and learnt part by part.`));
    if (tokens.too_long) parts.push(make("p", { class: "note" }, `${about}${count(tokens.too_long, "reply is", "replies are")} too long to be learnt; train.max_seq_length: ${tokens.window_needed} would hold them.`));
    const kinds = Object.entries(secrets.kinds);
    if (kinds.length) parts.push(make("p", { class: "warning" }, `Likely secrets, which the model would learn: ${kinds.map(([kind, number]) => `${kind} ${number}`).join(", ")}.`));
    const examples = make("div", { class: "examples" });
    for (const row of found.examples) examples.append(...row.messages.map(({ role, content }) => make("p", {}, make("b", {}, `${role}: `), content.slice(0, 300))), make("hr"));
    parts.push(make("details", {}, make("summary", {}, "Examples"), examples));
  }
  const me = make("input", { type: "text", id: "me", placeholder: "your name in the chat", value: sides.me || "" });
  const again = make("button", { type: "button", class: "small" }, "Read again");
  again.addEventListener("click", () => doing(again, () => look(name, me.value.trim() ? { me: me.value.trim() } : {})));
  if (!found.taken || sides.me) parts.push(make("p", { class: "inline" }, make("label", { for: "me" }, "WhatsApp or Telegram:"), me, again));
  const take = make("button", { type: "button", class: "main" }, `Import ${count(found.taken, "conversation", "conversations")}`), cancel = make("button", { type: "button" }, "Cancel");
  take.hidden = !found.taken;
  take.addEventListener("click", () => doing(take, async () => {
    const done = await ask("/studio/import", { upload, dry_run: false, ...sides });
    const files = done.sources.map(({ file }) => file).filter(Boolean).join(", ");
    at("survey").replaceChildren(make("p", { class: "promoted", id: "imported" }, `${count(done.taken, "conversation", "conversations")} imported to ${files}.`));
    await Promise.all([waiting(), refresh()]);
  }));
  cancel.addEventListener("click", () => { at("survey").replaceChildren(); ask("/studio/forget", { upload }).catch(alarm); });
  parts.push(make("p", { class: "inline" }, take, cancel));
  at("survey").replaceChildren(...parts);
}

at("file").addEventListener("change", ({ target }) => take(target.files[0]));
for (const kind of ["dragenter", "dragover"]) at("drop").addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) at("drop").addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.remove("over"); });
at("drop").addEventListener("drop", (event) => take(event.dataTransfer.files[0]));

// -- building

at("evolve").addEventListener("submit", (event) => {
  event.preventDefault();
  doing(at("begin"), async () => { await ask("/studio/evolve", { max: Number(at("most").value) || 1 }); await watch(); });
});
at("halt").addEventListener("click", () => doing(at("halt"), async () => { at("halt").textContent = "Stopping …"; await ask("/studio/stop", { what: "evolve" }); await watch(); }));

function curve(points) {
  const svg = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "polyline");
  const steps = points.map(([step]) => step), values = points.map(([, loss]) => loss);
  const [low, high] = [Math.min(...values), Math.max(...values)], span = high - low || 1, last = Math.max(...steps) || 1;
  line.setAttribute("points", points.map(([step, loss]) => `${(100 * step) / last},${4 + (92 * (high - loss)) / span}`).join(" "));
  for (const [key, value] of [["viewBox", "0 0 100 100"], ["preserveAspectRatio", "none"], ["class", "curve"], ["role", "img"], ["aria-label", `Loss from ${values[0].toFixed(3)} to ${values[values.length - 1].toFixed(3)}`]]) svg.setAttribute(key, value);
  svg.append(line);
  return svg;
}

function time(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function trained({ training }) {
  const { curve: points, memory_gb: memory } = training;
  const bar = make("progress", { max: String(training.last), value: String(training.step), "aria-label": "Training" });
  const facts = [
    ["Step", `${training.step} of ${training.last}${training.may_end_sooner ? " at most" : ""}`], ["Loss", training.loss === null ? "–" : training.loss.toFixed(3)],
    ["Known of what is taught", training.known === null ? "not asked yet" : `${Math.round(training.known * 100)} %`], ["Time left", `${time(training.seconds_left)}${training.may_end_sooner ? " at most" : ""}`],
    ["Memory", memory === null ? "–" : `${memory.toFixed(1)} GB`],
  ];
  return [bar, make("dl", { class: "facts" }, ...facts.map(([title, value]) => make("div", {}, make("dt", {}, title), make("dd", {}, value)))), ...(points.length > 1 ? [curve(points)] : [])];
}

function steps(events, now) {
  const begun = events.filter(({ event }) => event === "stage").map(({ stage }) => stage);
  const last = now || begun[begun.length - 1];
  const all = [...ONCE.filter((stage) => begun.includes(stage)), ...STAGES];
  return make("ol", { class: "steps", "aria-label": "Stages" }, ...all.map((stage) => {
    const is = stage === last ? "now" : begun.includes(stage) || all.indexOf(stage) < all.indexOf(last) ? "done" : "";
    return make("li", { class: is, ...(is === "now" ? { "aria-current": "step" } : {}) }, stage);
  }));
}

const WHY = { most: "", mature: "The line is mature.", denied: "The rule said no, and no other settings are left to try.", nothing: "Nothing new is left to learn.", disk: "The disk is low." };
let verdictOf = null;

/** The verdict with its clauses, once for each build. */
async function verdict(job, box) {
  const sealed = job.events.filter(({ event }) => event === "sealed").pop(), failed = job.events.find(({ event }) => event === "failed"), stopped = job.events.find(({ event }) => event === "stopped");
  const parts = [];
  if (sealed) {
    const line = await ask("/studio/line"), item = line.generations.find(({ name }) => name === sealed.name);
    const moved = sealed.promoted && sealed.head === sealed.name;
    parts.push(make("p", { class: `verdict ${sealed.promoted ? "HEAD" : "denied"}` }, `${short(sealed.name)}: ${moved ? "promoted, it is the current best now" : sealed.promoted ? "promoted" : `denied; the current best stays ${short(sealed.head || "unset")}`}`));
    if (item) parts.push(make("p", {}, item.notes || ""), bars(item, line.scores));
  }
  if (stopped && WHY[stopped.reason]) parts.push(make("p", { class: "quiet" }, WHY[stopped.reason]));
  if (failed) parts.push(make("p", { class: "warning" }, failed.message));
  else if (job.stopped) parts.push(make("p", { class: "note" }, "Stopped. Grow again, and it resumes where it was."));
  else if (job.exit_code > 1 || (!sealed && job.exit_code)) parts.push(make("p", { class: "warning" }, job.lines[job.lines.length - 1] || `luna evolve ended with ${job.exit_code}.`));
  box.replaceChildren(...parts);
  log(job);
  speak(box.textContent);
}

function log(job) {
  const box = at("build-log"), lines = box.querySelector("pre"), text = job.lines.join("\n");
  box.hidden = !text;
  if (lines.textContent === text) return;
  const follows = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
  lines.textContent = text;
  if (follows) lines.scrollTop = lines.scrollHeight;
}

onRunning(({ evolve, build }, before) => {
  const busy = Boolean(evolve && evolve.exit_code === null), elsewhere = !busy && build;
  at("begin").hidden = busy || Boolean(elsewhere);
  at("halt").hidden = !busy;
  if (!busy) at("halt").textContent = "Stop";
  if (busy || elsewhere) {
    verdictOf = null;
    const parts = [steps(busy ? evolve.events : [], build && build.stage)];
    if (elsewhere) parts.push(make("p", { class: "note" }, `Another command is at work: ${build.sentence}.`));
    if (build && build.training) parts.push(...trained(build));
    if (busy) parts.push(make("p", { class: "quiet" }, build && build.stage ? `${build.stage} since ${build.since}` : evolve.lines[evolve.lines.length - 1] || "Starting …"));
    if (busy) log(evolve);
    at("build").replaceChildren(...parts);
  } else if (evolve && verdictOf !== evolve.began) {
    verdictOf = evolve.began;
    verdict(evolve, at("build")).catch(alarm);
    if (before) Promise.all([refresh(), waiting()]);
  } else if (before && before.build && !evolve) {
    at("build").replaceChildren();
    Promise.all([refresh(), waiting()]);
  }
});
onState(({ next, failure, pending_error: wrong }) => {
  at("next-step").textContent = wrong ? "" : `Next: ${next}`;
  if (wrong) alarm(new Error(wrong));
  else if (failure && !at("build").childElementCount) at("build").replaceChildren(make("p", { class: "note" }, `The build that was begun stopped: ${failure}`));
});
onShow("grow", waiting);
