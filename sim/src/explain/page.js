"use strict";
(function () {
  const story = JSON.parse(document.getElementById("story").textContent);
  const lives = new Map(story.ios.map(function (life) { return [String(life.io), life]; }));
  const body = document.querySelector(".body");
  const card = document.getElementById("card");
  const rows = Array.from(document.querySelectorAll(".body li"));

  function stepOf(row) {
    return row === null || !rows[row] ? null : rows[row].dataset.step;
  }

  function clear() {
    body.classList.remove("picking");
    document.querySelectorAll(".hot").forEach(function (element) { element.classList.remove("hot"); });
    card.hidden = true;
  }

  function line(name, text) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = text;
    return [term, value];
  }

  function pick(io) {
    const life = lives.get(io);
    if (!life) { return; }
    body.classList.add("picking");
    document.querySelectorAll(".io-" + io).forEach(function (element) { element.classList.add("hot"); });
    [life.begun, life.completed, life.durable, life.cut].forEach(function (row) {
      if (row !== null && rows[row]) { rows[row].classList.add("hot"); }
    });
    const title = document.createElement("b");
    title.textContent = "#" + io + " " + life.name;
    const list = document.createElement("dl");
    const at = function (row, none) { return row === null ? none : "step " + stepOf(row); };
    list.append.apply(list, [].concat(
      line("queue", String(life.queue)),
      line("in flight", "from " + at(life.begun, "-")),
      line(life.failed ? "failed" : "done", at(life.completed, "never")),
      life.changes ? line("durable", at(life.durable, "never")) : [],
      life.cut !== null ? line("power cut", at(life.cut, "-") + ", not durable") : []
    ));
    card.replaceChildren(title, list);
    card.hidden = false;
  }

  rows.forEach(function (row) {
    row.addEventListener("mouseenter", function () {
      clear();
      if (row.dataset.io) { pick(row.dataset.io); }
      document.querySelectorAll("circle.fate[data-step='" + row.dataset.step + "']").forEach(function (dot) {
        dot.classList.add("hot");
      });
    });
  });
  body.addEventListener("mouseleave", clear);
  document.querySelectorAll(".io").forEach(function (element) {
    element.addEventListener("mouseenter", function () {
      const name = Array.from(element.classList).find(function (word) { return /^io-\d+$/.test(word); });
      clear();
      pick(name.slice(3));
    });
  });
  document.querySelectorAll("circle.fate").forEach(function (dot) {
    dot.addEventListener("click", function () {
      const row = document.querySelector(".body li[data-step='" + dot.dataset.step + "']");
      if (row) { row.scrollIntoView({ block: "center" }); row.classList.add("hot"); }
    });
  });
  // For a test: the script has run.
  document.documentElement.dataset.rows = String(rows.length);
  const focus = document.getElementById("focus");
  focus.addEventListener("click", function () {
    const on = focus.getAttribute("aria-pressed") !== "true";
    focus.setAttribute("aria-pressed", String(on));
    body.classList.toggle("focused", on);
  });
  document.getElementById("theme").addEventListener("click", function () {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
})();
