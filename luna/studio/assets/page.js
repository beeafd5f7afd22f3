// What the parts of the page share: the token, asking the server, the state of the line, and the tabs.

const { make } = shared;
export const at = (id) => document.getElementById(id);
export const short = (name) => (/-(G\d+)-/.exec(name) || [null, name])[1];

// The token comes in the address and is kept for this tab alone: no other page, and no other server, gets it.
const given = /[#&]token=([\w-]+)/.exec(location.hash);
if (given) {
  sessionStorage.setItem("luna-token", given[1]);
  history.replaceState(null, "", "#talk");
}
const token = sessionStorage.getItem("luna-token") || "";

/** Send a request as this page. */
async function send(path, options = {}) {
  try {
    return await fetch(path, { cache: "no-store", ...options, headers: { Authorization: `Bearer ${token}`, ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The studio does not answer. If it has ended, run 'luna studio' again and open the address that it prints.");
  }
}

async function refused(answer) {
  const error = (await answer.json().catch(() => ({}))).error || {};
  return Object.assign(new Error(error.message || `The studio answered with ${answer.status}.`), { kind: error.type });
}

/** GET without a body, POST with one; gives the answer's document. */
export async function ask(path, body, signal) {
  const raw = body instanceof Blob;
  const options = body === undefined ? {} : { method: "POST", body: raw ? body : JSON.stringify(body), headers: { "Content-Type": raw ? "application/octet-stream" : "application/json" } };
  const answer = await send(path, { ...options, signal });
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

/** The text behind a path. */
export async function text(path) {
  const answer = await send(path);
  if (!answer.ok) throw await refused(answer);
  return answer.text();
}

/** Let a generation write; each piece goes to `piece`. Gives who wrote, and why it ended ("length", "stop"). */
export async function stream(body, piece, signal) {
  const answer = await send("/v1/chat/completions", { method: "POST", body: JSON.stringify({ ...body, stream: true }), headers: { "Content-Type": "application/json" }, signal });
  if (!answer.ok) throw await refused(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", model = null, end = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { model, end };
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      model = event.model;
      for (const { delta, finish_reason } of event.choices) {
        if (delta.content) piece(delta.content, model);
        end = finish_reason || end;
      }
    }
  }
}

/** Say what went wrong, or take it away. */
export function alarm(error) {
  const box = at("alert");
  box.hidden = !error;
  box.textContent = error ? error.message || String(error) : "";
  if (error) box.scrollIntoView({ block: "nearest" });
}

/** Say to a screen reader what has ended; what moves each second is not read aloud. */
export const speak = (words) => { at("spoken").textContent = words; };

/** Run what a button does: one at a time, and an error is shown. */
export async function doing(button, work) {
  alarm(null);
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    alarm(error);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

// -- the state of the line

export let state = null;
const listeners = [];
export const onState = (listen) => { listeners.push(listen); if (state) listen(state); };

export async function refresh() {
  try {
    state = await ask("/studio/state");
  } catch (error) {
    alarm(error);
    return;
  }
  at("prefix").textContent = state.prefix;
  document.title = state.prefix;
  const worth = state.worth ? ` ${state.worth}` : "";
  at("standing").textContent = state.head ? `The current best is ${state.head}.${worth ? ` It${worth}.` : ""}` : "There is no generation yet: bring in conversations and grow the first.";
  for (const listen of listeners) listen(state);
}

/** Put the generations into a select, the newest first; what was chosen stays. */
export function generations(select, { head = false, filter = () => true } = {}) {
  const before = select.value, options = state.line.filter(filter).reverse().map(({ name, short: gen, state: word }) => make("option", { value: name }, `${gen}, ${shared.words[word]}`));
  if (head) options.unshift(make("option", { value: "HEAD" }, state.head ? `the current best (${short(state.head)})` : "the current best"));
  select.replaceChildren(...options);
  if ([...select.options].some((option) => option.value === before)) select.value = before;
}

// -- what runs

let running = null;
const watchers = [];
export const onRunning = (watch) => { watchers.push(watch); if (running) watch(running); };

let timer = null;
export async function watch() {
  clearTimeout(timer);
  let busy = false;
  try {
    const before = running;
    running = await ask("/studio/running");
    busy = Boolean(running.build || [running.evolve, running.verify].some((job) => job && job.exit_code === null));
    at("working").hidden = !busy;
    for (const each of watchers) each(running, before);
  } catch (error) {
    alarm(error);
  }
  timer = setTimeout(watch, busy ? 1000 : document.hidden ? 30000 : 5000);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) { watch(); refresh(); } });

// -- the tabs

const parts = ["talk", "compare", "grow", "line"];
const shown = [];
export const onShow = (part, show) => shown.push([part, show]);
function turn() {
  const wanted = parts.includes(location.hash.slice(1)) ? location.hash.slice(1) : "talk";
  for (const part of parts) at(part).hidden = part !== wanted;
  for (const link of at("tabs").children) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const [part, show] of shown) if (part === wanted && token) show();
}
addEventListener("hashchange", turn);
shared.themes(at("theme"));

addEventListener("load", async () => {
  turn();
  if (!token) {
    alarm(new Error("This address lacks its token: open the whole address that 'luna studio' printed."));
    return;
  }
  await refresh();
  await watch();
  document.documentElement.dataset.ready = "yes";
});
