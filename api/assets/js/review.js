/* The inbox by keyboard: one report after the other, each decision kept before the next is shown. */

import { layMap, liftMap } from "./maps.js";
import { decide, fetchLabels } from "./service.js";
import { spoken } from "./words.js";

const review = document.getElementById("review");
const cases = [...document.querySelectorAll(".case")];
let current = null;

const KEYS = {
  j: () => step(1),
  arrowdown: () => step(1),
  k: () => step(-1),
  arrowup: () => step(-1),
  a: () => press("accept"),
  r: () => press("reject"),
  c: () => current?.querySelector("[name=label]").focus(),
  m: () => current?.querySelector(".case-map").click(),
  n: () => document.getElementById("next-page")?.click(),
};

document.getElementById("keys").hidden = cases.length === 0;
for (const one of cases) enhance(one);
document.addEventListener("keydown", listen);
offerLabels();
const first = cases.find(isOpen) ?? cases[0];
if (first) show(first);

function enhance(one) {
  const map = one.querySelector(".case-map");
  map.hidden = false;
  map.addEventListener("click", () => toggleMap(one, map));
  one.addEventListener("focusin", () => mark(one));
  one.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    keep(one, event.submitter?.value ?? "correct");
  });
}

function listen(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input, select, textarea");
  if (isTyping) {
    if (event.key === "Escape" && current) show(current);
    return;
  }
  const act = KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
}

function press(decision) {
  const button = current?.querySelector(`[value="${decision}"]`);
  if (button && !button.disabled) button.click();
}

function step(by) {
  const next = cases[cases.indexOf(current) + by];
  if (next) show(next);
}

function show(one) {
  one.focus({ preventScroll: true });
  one.scrollIntoView({ block: "nearest" });
}

function mark(one) {
  current?.removeAttribute("aria-current");
  current = one;
  one.setAttribute("aria-current", "true");
}

function isOpen(one) {
  return one.dataset.status === "open";
}

async function keep(one, decision) {
  const label = decision === "correct" ? one.querySelector("[name=label]").value.trim() : "";
  const status = one.querySelector(".case-status");
  try {
    const kept = await decide(review.dataset.decide, { report_id: one.dataset.report, decision, label });
    count(one.dataset.status, -1);
    count(kept.status, 1);
    one.dataset.status = kept.status;
    status.classList.remove("case-trouble");
    status.textContent = kept.label ? `Kept: ${kept.status} as ${spoken(kept.label)}.` : `Kept: ${kept.status}.`;
  } catch (trouble) {
    status.classList.add("case-trouble");
    status.textContent = trouble.message;
    return;
  }
  const next = cases.slice(cases.indexOf(one) + 1).find(isOpen);
  show(next ?? one);
}

function count(status, by) {
  const shown = document.querySelector(`[data-count="${status}"]`);
  if (shown) shown.textContent = String(Number(shown.textContent) + by);
}

async function toggleMap(one, button) {
  const frame = one.querySelector(".view");
  const isShown = button.ariaPressed === "true";
  liftMap(frame);
  button.ariaPressed = "false";
  if (isShown) return;
  try {
    await layMap(frame, button.dataset.map);
    button.ariaPressed = "true";
  } catch (trouble) {
    one.querySelector(".case-status").textContent = trouble.message;
  }
}

async function offerLabels() {
  const list = document.getElementById("labels");
  const known = new Set([...list.options].map((option) => option.value));
  const labels = (await fetchLabels(review.dataset.labels)).map(spoken).filter((label) => !known.has(label));
  list.append(...labels.map((label) => new Option("", label)));
}
