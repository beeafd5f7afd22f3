// Compare: one question to several generations side by side, and a vote that is kept.
import { alarm, ask, at, doing, onShow, onState, short, state, stream } from "/page.js";

const { make } = shared;
const LONGEST = 256; // tokens of an answer
let contest = null; // {question, blind, sides: [{name, text, box}], stop, voted}
let touched = false; // whether somebody has chosen whom to ask

const chosen = () => [...at("contestants").querySelectorAll("input:checked")].map((box) => box.value);

function offer() {
  const rows = [...state.line].reverse();
  // Until somebody chooses, the current best and the one before it.
  const first = rows.filter(({ state: word }) => word !== "denied").slice(0, 2).map(({ name }) => name);
  const before = new Set(touched ? chosen() : first);
  at("contestants").replaceChildren(at("contestants").querySelector("legend"), ...rows.map(({ name, short: gen, state: word }) => {
    const box = make("input", { type: "checkbox", value: name });
    box.checked = before.has(name);
    return make("label", { class: "check" }, box, `${gen}, ${shared.words[word]}`);
  }));
  limit();
}

function limit() {
  const full = chosen().length >= state.most_compared;
  for (const box of at("contestants").querySelectorAll("input")) box.disabled = full && !box.checked;
}

function shuffled(names) {
  const rest = [...names], order = [];
  while (rest.length) order.push(rest.splice(crypto.getRandomValues(new Uint32Array(1))[0] % rest.length, 1)[0]);
  return order;
}

async function begin(event) {
  event.preventDefault();
  const question = at("contest-question").value.trim(), names = chosen();
  alarm(null);
  if (names.length < 2) { alarm(new Error(`Choose two or three generations, then ask.`)); return; }
  if (!question || (contest && contest.stop)) return;
  const blind = at("blind").checked;
  contest = { question, blind, stop: new AbortController(), voted: false, sides: (blind ? shuffled(names) : names).map((name) => ({ name, text: "" })) };
  at("answers").replaceChildren(...contest.sides.map((side, index) => {
    side.title = make("span", {}, blind ? "ABC"[index] : short(side.name));
    side.choose = make("button", { type: "button", class: "small", hidden: "" }, "This one is better");
    side.choose.addEventListener("click", () => vote(side));
    side.words = make("div", { class: "text" });
    side.box = make("div", { class: "answer writing" }, make("h3", {}, side.title, side.choose), side.words);
    return side.box;
  }));
  at("contest-vote").hidden = true;
  at("contest-ask").hidden = true;
  at("contest-stop").hidden = false;
  const ended = await Promise.all(contest.sides.map(write));
  contest.stop = null;
  at("contest-ask").hidden = false;
  at("contest-stop").hidden = true;
  if (!ended.every(Boolean)) return;
  at("contest-vote").hidden = false;
  for (const { choose } of contest.sides) choose.hidden = false;
}

async function write(side) {
  try {
    const body = { model: side.name, messages: [{ role: "user", content: contest.question }], max_tokens: LONGEST };
    await stream(body, (text) => { side.text += text; side.words.textContent = side.text; }, contest.stop.signal);
    return true;
  } catch (error) {
    if (error.name !== "AbortError") alarm(error);
    return false;
  } finally {
    side.box.classList.remove("writing");
  }
}

function vote(best) {
  return doing(at("neither"), async () => {
    if (contest.voted) return;
    const answers = Object.fromEntries(contest.sides.map(({ name, text }) => [name, text]));
    const counted = await ask("/studio/vote", { question: contest.question, answers, best: best ? best.name : null, blind: contest.blind });
    contest.voted = true;
    at("contest-vote").hidden = true;
    for (const side of contest.sides) {
      side.choose.hidden = true;
      side.title.textContent = side.title.textContent.length === 1 ? `${side.title.textContent}: ${short(side.name)}` : short(side.name);
      side.box.classList.toggle("best", side === best);
    }
    tally(counted);
  });
}

function tally({ pairs }) {
  if (!pairs.length) { at("tally").replaceChildren(); return; }
  const head = make("tr", {}, ...["Two generations", "First better", "Second better", "Neither", "Cast blind"].map((title) => make("th", { scope: "col" }, title)));
  const rows = pairs.map((pair) => make("tr", {}, make("td", {}, `${short(pair.a)} and ${short(pair.b)}`), ...[pair.a_better, pair.b_better, pair.neither, pair.blind].map((count) => make("td", {}, String(count)))));
  at("tally").replaceChildren(make("h3", {}, "Votes so far"), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

at("contest").addEventListener("submit", begin);
at("contest-question").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) begin(event); });
at("contest-stop").addEventListener("click", () => contest && contest.stop && contest.stop.abort());
at("contestants").addEventListener("change", () => { touched = true; limit(); });
at("neither").addEventListener("click", () => vote(null));
onState(offer);
onShow("compare", () => ask("/studio/votes").then(tally, alarm));
