"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data"), charts = read("charts");
  const byGen = new Map(data.generations.map((item) => [item.gen, item]));
  const { make, size, words, bars } = shared;
  const list = document.getElementById("generations"), detail = document.getElementById("detail"), views = new Map();
  const short = (gen) => (typeof gen === "number" ? "G" + String(gen).padStart(3, "0") : gen === null ? "unknown" : String(gen));
  const MANY = 200; // generations above which a canvas draws faster than an SVG
  const CURVES = 30; // loss curves shown at once, beside the chosen one
  let chosen = null;

  // -- one generation

  function facts(item) {
    const box = make("dl", { class: "facts" }), put = (title, value) => value !== null && value !== undefined && box.append(make("div", {}, make("dt", {}, title), make("dd", {}, value)));
    const whole = (value) => (value === null ? null : String(Math.round(value * 1000) / 1000)), training = item.training;
    const parent = byGen.get(item.parent);
    if (parent) {
      const button = make("button", { type: "button" }, short(item.parent));
      button.addEventListener("click", () => go(item.parent));
      put("Parent", button);
    } else put("Parent", short(item.parent));
    put("Born (UTC)", item.born && item.born.replace("T", " ").replace("Z", ""));
    put("New conversations", whole(item.data.new_conversations));
    put("Replayed", whole(item.data.replay_samples));
    put("Karma", whole(item.data.karma));
    put("Steps", whole(training.steps));
    put("Learning rate", training.learning_rate === null ? null : String(training.learning_rate));
    put("Loss", training.loss_start === null || training.loss_final === null ? null : `${training.loss_start.toFixed(3)} → ${training.loss_final.toFixed(3)}`);
    put("Training", training.walltime_minutes === null ? null : training.walltime_minutes.toFixed(2) + " min");
    put("Device", training.device);
    put("Peak memory", training.peak_memory_bytes === null ? null : size(training.peak_memory_bytes));
    const change = item.evolution;
    put("Weights changed", change.weight_change_percent === null ? null : `${whole(change.weight_change_percent)} %` + (change.changed_layers === null ? "" : ` (${change.changed_layers} of ${change.total_layers} tensors)`));
    put("Backward transfer", item.backward_transfer);
    put("New bytes kept", size(item.storage.new) + " of " + size(item.storage.own));
    return box;
  }

  function fold(title, key, content) {
    const box = make("details", { "data-key": key }, make("summary", {}, title), content);
    box.open = opened.has(key);
    box.addEventListener("toggle", () => (box.open ? opened.add(key) : opened.delete(key)));
    return box;
  }
  const opened = new Set(["card"]);

  function prose(html) { const box = make("div", { class: "prose" }); box.innerHTML = html; return box; }

  function hashes(item) {
    const body = make("tbody");
    for (const [path, bytes, digest] of item.files) body.append(make("tr", {}, make("td", {}, path, make("br"), make("code", {}, digest)), make("td", {}, size(bytes))));
    return make("div", { class: "prose numbers", tabindex: "0", role: "region", "aria-label": "Files and hashes" }, make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "File and SHA-256"), make("th", { scope: "col" }, "Size"))), body));
  }

  function show(item) {
    const parts = [make("h3", {}, item.name), make("p", {}, make("span", { class: "state " + item.state.replace(" ", "-") }, words[item.state]), item.notes ? " · " + item.notes : "")];
    for (const mark of item.marks) parts.push(make("p", { class: "warning" }, mark));
    parts.push(bars(item, data.scores), facts(item));
    if (item.card) parts.push(fold("Model card", "card", prose(item.card)));
    if (item.evaluation) parts.push(fold("Evaluation", "evaluation", prose(item.evaluation)));
    if (item.files.length) parts.push(fold(`Files and hashes (${item.files.length})`, "files", hashes(item)));
    detail.replaceChildren(...parts);
  }

  function choose(gen, scroll) {
    const item = byGen.get(gen);
    if (!item) return false;
    const before = list.querySelector('[aria-selected="true"]'), row = document.getElementById("row-" + gen);
    if (before) before.setAttribute("aria-selected", "false");
    row.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", row.id);
    const box = document.getElementById("scroller");
    if (scroll) {
      if (row.offsetTop < box.scrollTop) box.scrollTop = row.offsetTop;
      else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
    }
    if (chosen === gen) return true;
    chosen = gen;
    show(item);
    for (const [name, view] of views) {
      if (name === "loss") view.data("loss", rows.loss());
      view.signal("selected", gen).runAsync();
    }
    return true;
  }

  // -- the address: #G012 is a generation, so that a link leads to it and Back leads to the one before

  const address = (gen) => "#" + short(gen), linked = () => { const match = /^#G0*(\d+)$/i.exec(location.hash); return match && byGen.has(Number(match[1])) ? Number(match[1]) : null; };
  const start = data.head ?? data.generations[data.generations.length - 1].gen;

  /** Choose a generation and say so in the address; stepping with the arrow keys leaves no trail of steps. */
  function go(gen, step = false) {
    if (!choose(gen, true)) return false;
    if (location.hash !== address(gen)) history[step ? "replaceState" : "pushState"](null, "", address(gen));
    return true;
  }
  addEventListener("popstate", () => { const gen = linked(); if (gen !== null) choose(gen, true); else if (!location.hash) choose(start, true); });

  // -- which generations the list shows, and in what order

  const canvas = list.parentElement, all = [...list.children], choice = document.getElementById("shown"), sorting = document.getElementById("sorted"), wordsIn = document.getElementById("text"), count = document.getElementById("count");
  const plain = (html) => { const box = document.createElement("template"); box.innerHTML = html || ""; return box.content.textContent; };
  const texts = new Map(); // made when it is first asked for: a long line has much text
  const text = (item) => { if (!texts.has(item.gen)) texts.set(item.gen, [item.name, words[item.state], item.notes, item.born, ...item.marks, plain(item.card), plain(item.evaluation)].join("\n").toLowerCase()); return texts.get(item.gen); };
  const listed = () => [...list.children].filter((row) => !row.hidden).map((row) => Number(row.dataset.gen));
  function arrange() {
    const state = choice.value, by = data.scores.find(({ name }) => name === sorting.value), wanted = wordsIn.value.trim().toLowerCase();
    const worth = (row) => { const value = byGen.get(Number(row.dataset.gen)).scores[by.name].value; return value === null ? -Infinity : by.less ? -value : value; };
    list.append(...(by ? [...all].sort((a, b) => worth(b) - worth(a) || all.indexOf(a) - all.indexOf(b)) : all));
    for (const row of all) { const item = byGen.get(Number(row.dataset.gen)); row.hidden = Boolean((state && item.state !== state && !(state === "promoted" && item.state === "HEAD")) || (wanted && !text(item).includes(wanted))); }
    for (const row of all) row.querySelector(".figure").textContent = ((score) => (score.value === null ? "not measured" : score.text.value))(byGen.get(Number(row.dataset.gen)).scores[(by ?? data.scores[0]).name]);
    for (const row of all) row.querySelector(".which").textContent = (by ?? data.scores[0]).title;
    const left = listed().length;
    canvas.classList.toggle("arranged", Boolean(by) || left < all.length); // the drawing fits the whole line in its own order
    count.textContent = left < all.length ? `${left} of ${all.length} generations` : "";
  }
  for (const control of [choice, sorting]) control.addEventListener("change", arrange);
  wordsIn.addEventListener("input", arrange);
  document.getElementById("arrange").addEventListener("submit", (event) => event.preventDefault());

  list.addEventListener("click", (event) => { const row = event.target.closest("[data-gen]"); if (row) go(Number(row.dataset.gen)); });
  list.addEventListener("keydown", (event) => {
    const order = listed(), at = order.indexOf(chosen);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: order.length - 1 }[event.key];
    if (to === undefined || !order.length) return;
    event.preventDefault();
    go(order[Math.max(0, Math.min(order.length - 1, to))], true);
  });
  document.getElementById("jump").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = document.getElementById("wanted"), text = field.value.trim(), match = /(?:^|G)(\d+)/i.exec(text);
    const gen = /^head$/i.test(text) ? data.head : match ? Number(match[1]) : null;
    const found = gen !== null && go(gen);
    field.setCustomValidity(found ? "" : "There is no such generation.");
    field.reportValidity();
  });
  document.getElementById("wanted").addEventListener("input", (event) => event.target.setCustomValidity(""));

  // -- charts

  const score = (name) => () => data.generations.filter((item) => item.scores[name].value !== null).map((item) => ({ gen: item.gen, short: item.short, state: words[item.state], onLine: item.on_head_line, ...item.scores[name] }));
  const rows = {
    "score-recall": score("recall"), "score-generalisation": score("generalisation"), "score-tone_drift": score("tone_drift"), "score-ability": score("ability"),
    loss: () => {
      const trained = data.generations.filter((item) => item.loss.length), shown = new Set(trained.slice(-CURVES).map((item) => item.gen)).add(chosen);
      document.getElementById("loss-note").textContent = trained.length > CURVES ? `the newest ${CURVES} and the chosen one` : "the chosen one is bold";
      const drawn = trained.filter((item) => shown.has(item.gen) && item.gen !== chosen).concat(trained.filter((item) => item.gen === chosen)); // the chosen one on top
      return drawn.flatMap((item) => item.loss.map(([step, loss]) => ({ gen: item.gen, short: item.short, step, loss })));
    },
    matrix: () => data.matrix.map(([gen, batch, correct, n]) => ({ gen, short: short(gen), batch, correct, n, recall: correct / n })),
    weights: () => data.weights.map(([gen, layer, change]) => ({ gen, short: short(gen), layer, change })),
    cost: () => data.generations.flatMap((item) => [["training", item.training.walltime_minutes], ["examination", item.eval_minutes]].filter(([, minutes]) => minutes !== null).map(([what, minutes]) => ({ gen: item.gen, short: item.short, what, minutes }))),
    storage: () => { let copies = 0; return data.generations.map((item) => { copies += item.storage.own; return { gen: item.gen, short: item.short, kept: item.storage.kept / 1e6, new: item.storage.new / 1e6, copies: copies / 1e6 }; }); },
  };
  const notes = { matrix: data.matrix_step > 1 ? `every ${data.matrix_step}th generation` : "", weights: data.weights_step > 1 ? `every ${data.weights_step}th generation` : "" };

  /** Put the style sheet's colours in the place of their names. */
  function coloured(value, colour) {
    if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map((item) => coloured(item, colour));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, colour)]));
    return value;
  }
  const probe = make("span", { hidden: "" });
  document.body.append(probe);
  function colour(name) { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; }

  function numbers(figure, name) {
    const content = make("div", { class: "numbers", tabindex: "0", role: "region", "aria-label": "Numbers of this chart" });
    const box = make("details", { class: "table" }, make("summary", { class: "quiet" }, "Numbers as a table"), content);
    box.addEventListener("toggle", () => {
      if (!box.open || content.firstChild) return;
      const values = rows[name](), keys = Object.keys(values[0]).filter((key) => !["gen", "onLine", "text"].includes(key)), body = make("tbody");
      for (const row of values.slice(-2000)) body.append(make("tr", {}, ...keys.map((key) => make("td", {}, row[key] === null ? "–" : row.text && key in row.text ? row.text[key] : typeof row[key] === "number" ? String(Math.round(row[key] * 1e4) / 1e4) : row[key]))));
      content.append(make("table", {}, make("thead", {}, make("tr", {}, ...keys.map((key) => make("th", { scope: "col" }, key)))), body));
    });
    figure.append(box);
  }

  async function draw() {
    const text = colour("--text"), quiet = colour("--quiet"), edge = colour("--edge"), font = getComputedStyle(document.body).fontFamily;
    const dark = matchMedia("(prefers-color-scheme: dark)").matches ? document.documentElement.dataset.theme !== "light" : document.documentElement.dataset.theme === "dark";
    const config = {
      background: "transparent", font, view: { stroke: null }, text: { color: text },
      axis: { labelColor: quiet, titleColor: quiet, gridColor: edge, domainColor: edge, tickColor: edge, labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal" },
      legend: { labelColor: quiet, titleColor: quiet, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", gradientLength: 120 },
    };
    for (const figure of document.querySelectorAll("[data-chart]")) {
      const name = figure.dataset.chart, values = rows[name]();
      let plot = figure.querySelector(".plot, .empty");
      if (!plot) {
        plot = make("div", { class: values.length ? "plot" : "empty" }, values.length ? "" : "Nothing has been recorded for this yet.");
        figure.append(plot);
        if (notes[name]) figure.querySelector("figcaption").append(" ", make("small", {}, notes[name]));
        if (values.length) numbers(figure, name);
      }
      if (!values.length) continue;
      const specification = coloured(charts[name], colour);
      if (data.generations.length > MANY) for (const layer of specification.layer) if (layer.mark.type === "point") layer.mark.size = 14;
      specification.params = [{ name: "selected", value: chosen }];
      specification.datasets = { [name]: values };
      specification.description = figure.querySelector("figcaption").textContent + "; the numbers stand in the table below";
      if (views.has(name)) views.get(name).finalize();
      const result = await vegaEmbed(plot, specification, { actions: false, config, renderer: data.generations.length > MANY ? "canvas" : "svg", tooltip: { theme: dark ? "dark" : "light" } });
      result.view.addEventListener("click", (_, item) => { if (item && item.datum && byGen.has(item.datum.gen)) go(item.datum.gen); });
      views.set(name, result.view);
    }
    document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn || 0) + 1);
  }

  shared.themes(document.getElementById("theme"), draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  choose(linked() ?? start, true);
  draw();
})();
