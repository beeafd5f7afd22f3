"use strict";
// What the pages of the report and of the studio share.
const shared = (() => {
  const words = { HEAD: "current best", base: "base", promoted: "promoted", denied: "denied", "rolled back": "rolled back", unknown: "unknown" };

  // Text is always put in as text; only the report puts in as HTML what markdown-it made of a card, with HTML off.
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.filter((child) => child !== null));
    return node;
  }
  const size = (bytes) => {
    for (const unit of ["bytes", "kB", "MB", "GB"]) { if (bytes < 1000) return bytes.toFixed(unit === "bytes" ? 0 : 1) + " " + unit; bytes /= 1000; }
    return bytes.toFixed(1) + " TB";
  };

  /** The scores of a generation beside the bounds of its rule. */
  function bars(item, scores) {
    const box = make("div", { class: "bars" });
    for (const { name, title, less: tone } of scores) {
      const score = item.scores[name], text = score.text;
      box.append(make("span", {}, title));
      if (score.value === null) { box.append(make("span", { class: "quiet" }, "not measured"), make("span", {}, "–")); continue; }
      const inside = (value) => Math.min(1, Math.max(0, value)), at = (value) => (tone ? Math.sqrt(inside(value)) : inside(value)) * 100 + "%";
      const bar = make("span", { class: "bar", "aria-hidden": "true" });
      if (score.low !== null && score.high !== null) {
        const interval = make("i"); interval.style.left = at(score.low); interval.style.right = `calc(100% - ${at(score.high)})`; bar.append(interval);
      }
      if (score.bound !== null) { const bound = make("u"); bound.style.left = at(score.bound); bar.append(bound); }
      const mark = make("b"); mark.style.left = at(score.value); bar.append(mark);
      const fails = score.bound !== null && (tone ? score.value > score.bound : score.value < score.bound);
      const rule = score.bound === null ? "" : `${tone ? "at most" : "at least"} ${text.bound}`;
      const interval = score.low === null || score.high === null ? "" : `95 %: ${text.low} to ${text.high}, ${score.n} probes`;
      box.append(bar, make("span", {}, make("b", { class: fails ? "denied" : "" }, text.value), make("small", {}, rule), make("small", {}, interval)));
    }
    return box;
  }

  /** A button that goes round the themes: the system's, light, dark. */
  function themes(button, changed = () => {}) {
    const all = ["", "light", "dark"], root = document.documentElement;
    button.addEventListener("click", () => {
      const next = all[(all.indexOf(root.dataset.theme || "") + 1) % all.length];
      if (next) root.dataset.theme = next; else delete root.dataset.theme;
      button.textContent = "Theme: " + (next || "as the system");
      changed();
    });
  }

  return { make, size, words, bars, themes };
})();
