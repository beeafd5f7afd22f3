// Talk: an answer comes as it is written; praise and corrections go where those of luna chat go.
import { alarm, ask, at, doing, generations, onShow, onState, refresh, short, state, stream } from "/page.js";

const { make } = shared;
const LONGEST = 512; // tokens of an answer
const TOO_LONG = "exceed_context_size_error"; // llama.cpp's word for a talk that its window does not hold
let turns = []; // {role, text, model, stopped, kept: {identity, new, before}}
let good = [];
let first = 0; // the turn with which the model's window begins
let writing = null; // what stops the answer

// -- asking

async function answer(heat) {
  const turn = { role: "assistant", text: "" };
  turns.push(turn);
  writing = new AbortController();
  draw();
  const box = at("turns").lastElementChild, words = box.querySelector(".text");
  box.classList.add("writing");
  busy();
  note("");
  try {
    for (;;) {
      try {
        const messages = turns.slice(first, -1).map(({ role, text }) => ({ role, content: text }));
        const piece = (text, model) => { turn.text += text; turn.model = model; words.textContent = turn.text; };
        const { end } = await stream({ model: at("talk-with").value, messages, max_tokens: LONGEST, ...(heat ? { temperature: heat } : {}) }, piece, writing.signal);
        if (end === "length") note(`The answer was cut off at ${LONGEST} tokens.`);
        break;
      } catch (error) {
        const later = turns.findIndex((one, index) => index > first && one.role === "user");
        if (error.kind !== TOO_LONG || later < 0 || later >= turns.length) throw error;
        first = later; // the oldest question and its answer are left out
        note("The talk is longer than the model's window: its oldest turns are left out. What you keep still has all of it.");
      }
    }
  } catch (error) {
    turn.stopped = true;
    if (error.name !== "AbortError") alarm(error);
  } finally {
    writing = null;
    if (!turn.text) turns.splice(-2); // before the first word: as if it had not been asked
    busy();
    draw();
  }
  return Boolean(turn.text);
}

const heat = () => Number(at("heat").value) || 0;
const note = (text) => { at("talk-note").textContent = text; };
function busy() {
  at("send").hidden = Boolean(writing);
  at("stop").hidden = !writing;
  for (const control of [at("fresh"), at("talk-with")]) control.disabled = Boolean(writing);
}

async function asked(event) {
  event.preventDefault();
  const text = at("question").value.trim();
  if (!text || writing) return;
  alarm(null);
  at("question").value = "";
  turns.push({ role: "user", text });
  if (!(await answer(heat()))) at("question").value = text;
  at("question").focus();
}

async function again() {
  if (writing) return;
  alarm(null);
  const before = turns.pop();
  good = good.filter((index) => index < turns.length);
  const warm = heat() || state.regenerate_temperature;
  const question = turns[turns.length - 1];
  if (!(await answer(warm))) { turns.push(question, before); draw(); return; }
  if (!heat()) note(`Written at temperature ${warm}, since at 0 it would be the same.`);
}

// -- keeping

function keep(index, correction, button) {
  return doing(button, async () => {
    const part = turns.slice(0, index + 1), turn = turns[index];
    const kept = await ask("/studio/keep", { turns: part.map(({ role, text }) => [role, text]), good: good.filter((one) => one <= index), correction, stopped: Boolean(turn.stopped) });
    turn.kept = { ...kept, before: { text: turn.text, stopped: turn.stopped, good } };
    turn.text = kept.turns[index][1];
    turn.stopped = false;
    good = [...new Set([...good, ...kept.good])];
    draw();
    await Promise.all([waiting(), refresh()]);
  });
}

function undo(turn, button) {
  return doing(button, async () => {
    if (turn.kept.new) await ask("/studio/take-back", { identity: turn.kept.identity });
    else note("The same conversation lay in data/inbox before, and stays.");
    ({ text: turn.text, stopped: turn.stopped, good } = turn.kept.before);
    delete turn.kept;
    draw();
    await Promise.all([waiting(), refresh()]);
  });
}

function edit(index) {
  const turn = turns[index], box = at("turns").children[index];
  const field = make("textarea", { rows: String(Math.min(12, 2 + Math.ceil(turn.text.length / 70))), "aria-label": "The answer that would have been right" });
  field.value = turn.text;
  const save = make("button", { type: "submit", class: "small main" }, "Keep this answer"), cancel = make("button", { type: "button", class: "small" }, "Cancel");
  const form = make("form", {}, field, make("p", { class: "acts" }, save, cancel));
  cancel.addEventListener("click", draw);
  field.addEventListener("keydown", (event) => { if (event.key === "Escape") draw(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); keep(index, field.value, save); });
  box.replaceChildren(make("div", { class: "who" }, "What it should have said"), form);
  field.focus();
}

// -- drawing

function button(text, act, label) {
  const made = make("button", { type: "button", class: "small", ...(label ? { "aria-label": label, title: label } : {}) }, text);
  made.addEventListener("click", () => act(made));
  return made;
}

function acts(turn, index) {
  const box = make("div", { class: "acts" });
  if (turn.kept) {
    box.append(make("span", { class: "promoted" }, "kept for the next generation"), button("Take back", (it) => undo(turn, it)));
    return box;
  }
  if (!turn.stopped) box.append(button("✓ Good", (it) => keep(index, null, it), "Good: keep the talk up to here"));
  else box.append(make("span", { class: "quiet" }, "stopped"));
  box.append(button("✎ Edit", () => edit(index), "Edit the answer into what it should have said"));
  if (index === turns.length - 1) box.append(button("↻ Regenerate", again));
  return box;
}

function draw() {
  at("talk-empty").hidden = turns.length > 0;
  at("turns").replaceChildren(...turns.map((turn, index) => {
    const who = turn.role === "user" ? "You" : turn.model ? short(turn.model) : "…";
    const box = make("li", { class: `turn ${turn.role}` }, make("div", { class: "who" }, who), make("div", { class: "text" }, turn.text));
    if (turn.role === "assistant" && !(writing && index === turns.length - 1)) box.append(acts(turn, index));
    return box;
  }));
  const last = at("turns").lastElementChild;
  if (last) last.scrollIntoView({ block: "nearest" });
}

/** What waits in the inbox, each to be taken back. */
export async function waiting() {
  const outlook = await ask("/studio/waiting").catch((error) => { alarm(error); return null; });
  if (!outlook) return;
  document.dispatchEvent(new CustomEvent("outlook", { detail: outlook }));
  const mine = outlook.conversations.filter((row) => row.inbox);
  at("kept-count").textContent = outlook.count ? `${outlook.count} ${outlook.count === 1 ? "conversation" : "conversations"}; ${mine.length ? `${mine.length} can be taken back here` : "Grow lists them"}` : "Nothing yet.";
  at("kept").replaceChildren(...mine.map((row) => make("li", {}, make("p", {}, make("b", {}, row.question)), make("p", { class: "quiet" }, row.reply), button("Take back", (it) => doing(it, async () => {
    await ask("/studio/take-back", { identity: row.identity });
    for (const turn of turns) if (turn.kept && turn.kept.identity === row.identity) { ({ text: turn.text, stopped: turn.stopped, good } = turn.kept.before); delete turn.kept; }
    draw();
    await Promise.all([waiting(), refresh()]);
  }), `Take back: ${row.question}`))));
}

at("ask").addEventListener("submit", asked);
at("question").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) asked(event); });
at("stop").addEventListener("click", () => writing && writing.abort());
addEventListener("keydown", (event) => { if (event.key === "Escape" && writing) writing.abort(); });
at("fresh").addEventListener("click", () => { turns = []; good = []; first = 0; note(""); draw(); at("question").focus(); });
onState(() => generations(at("talk-with"), { head: true }));
onShow("talk", () => { waiting(); at("question").focus({ preventScroll: true }); });

